/** What a person can choose from: models, tools, knowledge, personas. Asked for once, and again when looked at. */
import { useCallback, useEffect, useState } from "preact/hooks";
import { useLang } from "../settings";
import { listCollections, listModels, listPersonas, listTools } from "./api";
import type { Collection, Model, Persona, Tool } from "./types";

export interface Choices {
  models: Model[] | null;
  /** The models could not be asked for: nothing works. */
  problem: boolean;
  tools: Tool[];
  collections: Collection[];
  personas: Persona[];
  reload: () => void;
  /** Tools, knowledge and personas anew: they may have been changed on another page. */
  refresh: () => void;
}

export function useChoices(): Choices {
  const language = useLang();
  const [models, setModels] = useState<Model[] | null>(null);
  const [problem, setProblem] = useState(false);
  const [tools, setTools] = useState<Tool[]>([]);
  const [collections, setCollections] = useState<Collection[]>([]);
  const [personas, setPersonas] = useState<Persona[]>([]);

  // Without tools or knowledge the chat still works.
  const refresh = useCallback(() => {
    const ignore = () => undefined;
    listTools(language).then(setTools, ignore);
    listCollections().then(setCollections, ignore);
    listPersonas().then(setPersonas, ignore);
  }, [language]);
  const reload = useCallback(() => {
    setProblem(false);
    listModels().then(setModels, () => setProblem(true));
  }, []);
  useEffect(reload, []);
  useEffect(refresh, [refresh]);

  return { models, problem, tools, collections, personas, reload, refresh };
}

/** The model that answers: what was chosen, else what was chosen last time, else the server's default. */
export function chooseModel(models: readonly Model[], ...wanted: (string | null | undefined)[]): Model | null {
  for (const id of wanted) {
    const found = models.find((model) => model.id === id);
    if (found) return found;
  }
  return models.find((model) => model.default) ?? models[0] ?? null;
}
