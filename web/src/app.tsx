import { useCallback, useEffect, useState } from "preact/hooks";
import { listStudies } from "./arena-api";
import { listModels, type Model, type Source } from "./api";
import { useChat } from "./chat";
import { Composer } from "./composer";
import { Drawer, type Opened } from "./drawer";
import { Header } from "./header";
import { Scroller } from "./scroller";
import { remember, rememberedModel, useLanguage, useTheme } from "./settings";
import { STRINGS, StringsContext } from "./strings";
import { Status } from "./status";
import { AnswerView, QuestionView } from "./turn";
import { Welcome } from "./welcome";

export function App() {
  const [language, setLanguage] = useLanguage();
  const [theme, setTheme] = useTheme();
  const strings = STRINGS[language];
  const [models, setModels] = useState<Model[] | null>(null);
  const [studies, setStudies] = useState(false);
  const [problem, setProblem] = useState(false);
  const [chosenId, setChosenId] = useState<string | null>(rememberedModel);
  const chosen = models?.find((one) => one.id === chosenId) ?? models?.[0] ?? null;
  const chat = useChat(chosen?.id, strings);
  const [opened, setOpened] = useState<Opened | null>(null);
  const open = useCallback((source: Source, model: string) => setOpened({ source, model }), []);

  const load = useCallback(() => {
    setProblem(false);
    listModels().then(setModels, () => setProblem(true));
    listStudies("").then((found) => setStudies(found.length > 0), () => setStudies(false));
  }, []);
  useEffect(load, []);

  useEffect(() => {
    document.title = chosen ? `${chosen.title} · Chatwright` : "Chatwright";
  }, [chosen?.title]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.key === "Escape" && !event.isComposing && !opened) chat.stop();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });

  const grounded = chosen?.grounded ?? false;
  return (
    <StringsContext.Provider value={strings}>
      <Header
        models={models ?? []}
        chosen={chosen}
        theme={theme}
        studies={studies}
        onTheme={setTheme}
        onLanguage={() => setLanguage(language === "en" ? "zh" : "en")}
        onNew={() => {
          chat.clear();
          document.querySelector<HTMLTextAreaElement>("textarea")?.focus();
        }}
        onChoose={(id) => {
          remember("model", id);
          setChosenId(id);
        }}
      />
      <Scroller label={strings.conversation} count={chat.turns.length}>
        {chat.turns.length === 0 ? (
          <Welcome models={models} chosen={chosen} problem={problem} onAsk={chat.send} onReload={load} />
        ) : (
          chat.turns.map((turn, index) =>
            turn.role === "user" ? (
              <QuestionView key={index} text={turn.text} />
            ) : (
              <AnswerView
                key={index}
                answer={turn}
                name={models?.find((one) => one.id === turn.model)?.title ?? turn.model}
                grounded={models?.find((one) => one.id === turn.model)?.grounded ?? false}
                onOpen={open}
                onRetry={turn.state === "failed" && index === chat.turns.length - 1 ? chat.retry : null}
              />
            ),
          )
        )}
      </Scroller>
      <Composer
        writing={chat.writing}
        disabled={!chosen}
        caution={grounded ? strings.caution : strings.cautionPlain}
        onSend={chat.send}
        onStop={chat.stop}
      />
      <Status turns={chat.turns} />
      {opened && <Drawer opened={opened} language={language} onClose={() => setOpened(null)} />}
    </StringsContext.Provider>
  );
}
