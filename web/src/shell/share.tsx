/** Sharing: a link to a chat as it is now, and the links there are. */
import { useState } from "preact/hooks";
import * as api from "../clients/history";
import type { Conversation, Share } from "../clients/history";
import { useFormat } from "../format";
import { useShell } from "../strings-shell";
import { titleOf } from "./history-store";
import { useLoaded } from "./loaded";
import { Button, confirm, Dialog, EmptyState, toast, Waiting } from "./parts";
import { attempt, copyText } from "./problem";

const whole = (url: string) => new URL(url, location.origin).href;

export function ShareDialog(props: { conversation: Conversation; onClose: () => void }) {
  const strings = useShell();
  const shares = useLoaded(api.listShares);
  const [made, setMade] = useState<{ id: string; url: string } | null>(null);
  const [busy, setBusy] = useState(false);
  const ours = shares.value?.filter((one) => one.conversation_id === props.conversation.id);

  async function make() {
    setBusy(true);
    await attempt(async () => {
      const share = await api.createShare(props.conversation.id);
      setMade(share);
      shares.reload();
      if (await copyText(whole(share.url))) toast(strings.linkCopied);
    });
    setBusy(false);
  }

  return (
    <Dialog title={strings.shareTitle} onClose={props.onClose}>
      <div class="stack">
        <p class="dialog-subject">{titleOf(props.conversation)}</p>
        <p>{strings.shareText}</p>
        {made ? (
          <>
            <div class="copy-row">
              <input
                class="input mono"
                readOnly
                value={whole(made.url)}
                aria-label={strings.link}
                onFocus={(event) => event.currentTarget.select()}
              />
              <Button
                kind="primary"
                onClick={async () => (await copyText(whole(made.url))) && toast(strings.linkCopied)}
              >
                {strings.copyLink}
              </Button>
            </div>
            <p class="note">{strings.linkOnce}</p>
          </>
        ) : (
          <Button kind="primary" class="to-start" busy={busy} onClick={make}>
            {strings.makeLink}
          </Button>
        )}
        <section class="stack tight">
          <h3>{strings.links}</h3>
          {shares.problem && <p class="problem">{shares.problem}</p>}
          {!ours && !shares.problem && <Waiting lines={1} label={strings.loading} />}
          {ours?.length === 0 && <p class="note">{strings.noLinks}</p>}
          {ours && ours.length > 0 && (
            <ShareList shares={ours} onRevoked={shares.reload} onGone={(id) => made?.id === id && setMade(null)} />
          )}
        </section>
      </div>
    </Dialog>
  );
}

/** Links with the button that ends each. */
export function ShareList(props: {
  shares: Share[];
  titled?: boolean;
  onRevoked: () => void;
  onGone?: (id: string) => void;
}) {
  const strings = useShell();
  const format = useFormat();

  async function revoke(one: Share) {
    const yes = await confirm({
      title: strings.revokeTitle,
      text: strings.revokeText,
      action: strings.revoke,
      danger: true,
    });
    if (!yes || !(await attempt(() => api.revokeShare(one.id)))) return;
    toast(strings.revoked);
    props.onGone?.(one.id);
    props.onRevoked();
  }

  return (
    <ul class="rows">
      {props.shares.map((one) => (
        <li key={one.id} class="row">
          <div class="row-main">
            {props.titled && <span class="row-title">{one.title || strings.untitled}</span>}
            <span class={props.titled ? "note" : ""}>{strings.madeOn(format.moment(one.created_at))}</span>
          </div>
          <Button kind="danger" onClick={() => revoke(one)}>
            {strings.revoke}
          </Button>
        </li>
      ))}
    </ul>
  );
}

/** All links of a person, for the settings. */
export function AllShares() {
  const strings = useShell();
  const shares = useLoaded(api.listShares);
  if (shares.problem) return <p class="problem">{shares.problem}</p>;
  if (!shares.value) return <Waiting lines={2} label={strings.loading} />;
  if (!shares.value.length) return <EmptyState title={strings.noLinksAtAll} />;
  return <ShareList shares={shares.value} titled onRevoked={shares.reload} />;
}
