/** A chat that somebody shared: to be read, by anybody who has the link. */
import { useEffect } from "preact/hooks";
import { GateBar } from "../account/gate";
import { ReadOnlyConversation } from "../chat";
import { readShared } from "../clients/history";
import { useFormat } from "../format";
import { Logo } from "../icons";
import { useSession } from "../session";
import { useLoaded } from "../shell/loaded";
import { Connection } from "../shell/connection";
import { WarnIcon } from "../shell/icons";
import { EmptyState, Waiting } from "../shell/parts";
import { useShell, words } from "../strings-shell";

const en = {
  shared: (date: string) => `A shared chat, as it was on ${date}.`,
  sharedPlain: "A shared chat.",
  caution: "Written by people and by a model. Models can be wrong.",
  gone: "This link does not work",
  goneHint: "It may be incomplete, or whoever shared it has revoked it.",
  ask: "Ask something yourself",
};
const zh: typeof en = {
  shared: (date) => `分享的对话，内容截至 ${date}。`,
  sharedPlain: "分享的对话。",
  caution: "内容由成员和模型共同写成，模型可能出错。",
  gone: "链接无效",
  goneHint: "链接可能不完整，或已被分享者撤销。",
  ask: "我也来提问",
};
const useWords = words(en, zh);

export function SharedPage(props: { token: string }) {
  const text = useWords();
  const strings = useShell();
  const format = useFormat();
  const session = useSession();
  const shared = useLoaded(() => readShared(props.token), [props.token]);
  const found = shared.value;
  const at = found?.shared_at ?? found?.created_at;

  useEffect(() => {
    document.title = `${found?.title || strings.share} · Chatwright`;
  }, [found?.title, strings]);

  return (
    <div class="shared-page">
      <Connection />
      <header class="shared-bar">
        <a class="sidebar-home" href="/" aria-label="Chatwright">
          <Logo />
          <strong>Chatwright</strong>
        </a>
        <span class="space" />
        {session?.state === "signed_in" && (
          <a class="outlined wide-only" href="/">
            {text.ask}
          </a>
        )}
        <GateBar />
      </header>
      {shared.problem ? (
        <main class="view-alone">
          <EmptyState whole icon={<WarnIcon />} title={text.gone} text={text.goneHint} />
        </main>
      ) : !found ? (
        <main class="view-waiting">
          <Waiting lines={6} label={strings.loading} />
        </main>
      ) : (
        <main class="shared-main">
          <div class="shared-head">
            <h1 dir="auto">{found.title || strings.untitled}</h1>
            <p class="note">
              {at ? text.shared(format.date(at)) : text.sharedPlain} {text.caution}
            </p>
          </div>
          <ReadOnlyConversation messages={found.messages as never} />
        </main>
      )}
    </div>
  );
}
