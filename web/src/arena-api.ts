/** The arena's API. Nothing here but the results says which model wrote what. */
import { reach, type ChatMessage } from "./api";

export type Form = "compare" | "rate";
export type Choice = "left" | "right" | "tie" | "both_bad" | "skip";

export interface Progress {
  done: number;
  total: number;
  skipped: number;
}

export interface StudyEntry {
  name: string;
  forms: Form[];
  progress: Partial<Record<Form, Progress>>;
  problem: string | null;
}

export interface Labelled {
  code: string;
  en: string;
  zh: string;
}

export interface About {
  name: string;
  forms: Form[];
  guidelines: { en: string; zh: string };
  reasons: Labelled[];
  scales: Labelled[];
}

export interface Task {
  id: string;
  messages: { role: ChatMessage["role"] | "system"; content: string }[];
  language: string | null;
  context: string | null;
  reference: string | null;
  left?: string; // of a comparison
  right?: string;
  answer?: string; // of a rating
  scales?: string[];
}

export interface Next {
  form: Form;
  task: Task | null;
  progress: Progress;
}

/** What a judge is about to say; a comparison uses the first two, a rating the third. */
export interface Draft {
  choice: Choice | null;
  reasons: string[];
  scores: Record<string, number>;
  comment: string;
}

export const emptyDraft = (): Draft => ({ choice: null, reasons: [], scores: {}, comment: "" });

const ROOT = "/v1/chatwright/arena/studies";

const at = (study: string, what = "") => `${ROOT}/${encodeURIComponent(study)}${what}`;

async function post<T>(path: string, body: object): Promise<T> {
  const response = await reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
}

export async function listStudies(judge: string): Promise<StudyEntry[]> {
  const query = judge ? `?${new URLSearchParams({ judge })}` : "";
  return (await (await reach(ROOT + query)).json()).data;
}

export const aboutStudy = async (study: string): Promise<About> => (await reach(at(study))).json();

export const nextTask = (study: string, judge: string, form: Form) =>
  post<Next>(at(study, "/next"), { judge, form });

/** Say it, and get what comes next in the same answer. */
export function say(study: string, judge: string, next: Next, draft: Draft, seconds: number) {
  const common = { judge, comment: draft.comment, seconds };
  if (next.form === "rate")
    return post<Next>(at(study, "/ratings"), { ...common, rating: next.task!.id, scores: draft.scores });
  const sided = draft.choice === "left" || draft.choice === "right";
  return post<Next>(at(study, "/votes"), {
    ...common,
    comparison: next.task!.id,
    choice: draft.choice,
    reasons: sided ? draft.reasons : [], // a reason says why one is better
  });
}

export const takeBack = (study: string, judge: string, form: Form) =>
  post<Next & { undone: Partial<Draft> | null }>(at(study, "/undo"), { judge, form });

/** Unblinds: asked for only when a judge says so. */
export const studyResults = async (study: string): Promise<Results> =>
  (await reach(at(study, "/results"))).json();

export interface Interval {
  value: number;
  low: number;
  high: number;
  count: number;
}

export interface Strength {
  model: string;
  rating: number;
  low: number | null;
  high: number | null;
  votes: number;
  group: number;
}

export interface PairResult {
  model: string;
  other: string;
  wins: number;
  losses: number;
  ties: number;
  both_bad: number;
  identical: number;
  rate: number | null;
  low: number | null;
  high: number | null;
}

export interface JudgePair {
  first: string;
  second: string;
  count: number;
  same: number | null;
  kappa: number | null;
}

export interface Section {
  kind: "person" | "model";
  judges: {
    judge: { name: string };
    votes: number;
    skips: number;
    ratings: number;
    seconds: [number, number, number] | null;
  }[];
  votes: number;
  skips: number;
  ratings: number;
  strengths: Strength[];
  matrix: PairResult[];
  agreement: {
    pairs: JudgePair[];
    fleiss: number | null;
    fleiss_units: number;
    fleiss_judges: number;
    alpha: number | null;
    units: number;
    note: string;
  };
  position: {
    left: number;
    count: number;
    share: number | null;
    low: number | null;
    high: number | null;
    p_value: number | null;
  };
  reasons: Record<string, Record<string, number>>;
  scales: { scale: string; means: Record<string, Interval>; kappas: JudgePair[]; alpha: number | null }[];
  notes: string[];
}

export interface Results {
  name: string;
  models: string[];
  items: number;
  identical: number;
  people: Section;
  model_judges: Section;
  verdicts: { judge: string; consistent: number; inconsistent: number; none: number }[];
  with_people: JudgePair[];
  notes: string[];
}
