/** One conversation on the page: its tree, the answers being written, and what a person can do with it. */
import { ServerError } from "../http";
import { asHistory, type AnswerRequest, type AnswerStarted, type ChatApi } from "./api";
import { again, failed, grow } from "./progress";
import { follow, Gone, LAST_KINDS, type Connection } from "./run";
import { NEW, type Snapshot, type Told } from "./snapshot";
import { add, path, remove, rename, switchTo, toTree, update } from "./tree";
import { fullMessage, type Attached, type Feedback, type Message, type Sent, type Settings } from "./types";

export type { Snapshot, Told } from "./snapshot";

// Pieces are drawn together at this pace: smooth to the eye, and cheap for a long answer.
const DRAW_MS = 40;
const SAVE_MS = 400;

interface Live {
  run: string;
  abort: AbortController;
  stopWanted: boolean;
  grow?: typeof grow;
  /** The conversation was left for another before it had its title: only that is listened for. */
  untitled?: string;
}

const LOCAL = "local-";
export const isLocal = (id: string) => id.startsWith(LOCAL);

export class ChatStore {
  #state: Snapshot = NEW;
  #live = new Map<string, Live>();
  #listeners = new Set<() => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #saving: ReturnType<typeof setTimeout> | undefined;
  #made = 0;
  #opening = 0;
  #untitled = false; // the conversation was made here, and has not been told its title yet
  #left = new Set<AbortController>();

  constructor(
    private readonly api: ChatApi,
    private readonly told: Told,
    readonly temporary = false,
  ) {}

  get snapshot(): Snapshot {
    return this.#state;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Show another conversation (null: a new one). Answers of the old one go on at the server. */
  async open(id: string | null, settings: Settings = {}): Promise<void> {
    if (id !== null && id === this.#state.id && this.#state.state === "ready") return;
    const opening = ++this.#opening;
    this.#leave();
    this.#set({ ...NEW, id, settings, state: id === null ? "new" : "loading" });
    if (id === null) return;
    try {
      const found = await this.api.conversation(id);
      if (opening !== this.#opening) return;
      const messages = found.messages.map(fullMessage);
      this.#set({
        state: "ready",
        tree: toTree(messages, found.current_leaf),
        settings: { ...(found.model ? { model: found.model } : {}), ...found.settings },
      });
      await this.#resume(messages.filter((message) => message.status === "writing"));
    } catch (error) {
      if (opening !== this.#opening) return;
      const missing = error instanceof ServerError && [400, 404, 422].includes(error.status);
      this.#set({ state: "failed", problem: missing ? "missing" : "unreachable" });
    }
  }

  close(): void {
    this.#opening += 1;
    this.#leave();
    for (const abort of this.#left) abort.abort();
    this.#listeners.clear();
  }

  /** Ask a question below what is shown. `twice`: two answers, to be voted on. */
  ask(text: string, attachments: Attached[] = [], twice = false): Promise<void> {
    const parent = this.#state.tree.leaf;
    const question = this.#question(text, parent, attachments);
    const answers = [this.#answer(question.id), ...(twice ? [this.#answer(question.id)] : [])];
    this.#set({
      tree: add(this.#state.tree, question, ...answers),
      pair: twice ? [answers[0]!.id, answers[1]!.id] : null,
    });
    return this.#start(
      {
        action: twice ? "compare" : "ask",
        text,
        ...(parent !== null && !isLocal(parent) ? { parent_id: parent } : {}),
        ...(attachments.length ? { attachments: attachments.map((one) => one.id) } : {}),
      },
      question.id,
      answers.map((answer) => answer.id),
    );
  }

  /** Ask a question in other words: a branch beside it. */
  edit(id: string, text: string): Promise<void> {
    const old = this.#state.tree.messages.get(id);
    if (!old) return Promise.resolve();
    const question = this.#question(text, old.parent_id, old.attachments);
    const answer = this.#answer(question.id);
    this.#set({ tree: add(this.#state.tree, question, answer), pair: null });
    return this.#start({ action: "edit", message_id: id, text }, question.id, [answer.id]);
  }

  /** Another answer to the same question, beside this one. */
  async regenerate(id: string, model?: string): Promise<void> {
    const old = this.#state.tree.messages.get(id);
    if (!old || old.parent_id === null) return;
    const question = this.#state.tree.messages.get(old.parent_id);
    if (!question) return;
    if (isLocal(question.id) && !this.temporary) {
      // The server never got the question: ask it again.
      this.#set({ tree: { ...remove(this.#state.tree, question.id), leaf: question.parent_id } });
      return this.ask(question.text, question.attachments);
    }
    const answer = this.#answer(question.id);
    const failed = old.status === "failed" && old.text === "";
    const tree = failed && isLocal(id) ? remove(this.#state.tree, id) : this.#state.tree;
    this.#set({ tree: add(tree, answer), pair: null });
    const request: AnswerRequest = isLocal(id)
      ? { action: "regenerate", message_id: question.id }
      : { action: "regenerate", message_id: id };
    return this.#start({ ...request, ...(model ? { model } : {}) }, question.id, [answer.id]);
  }

  /** Write on where an answer was cut off. */
  continue(id: string): Promise<void> {
    this.#change(id, (answer) => ({ ...answer, status: "writing", finish: "" }));
    return this.#start({ action: "continue", message_id: id }, null, [id]);
  }

  /** Stop every answer being written. What is there stays. */
  stop(): void {
    for (const [id, live] of this.#live) {
      live.stopWanted = true;
      if (live.run) this.#halt(id, live);
    }
  }

  show(id: string): void {
    const tree = switchTo(this.#state.tree, id);
    this.#set({ tree, pair: null });
    this.#keepLeaf();
  }

  /** Put two answers to one question side by side. */
  compare(pair: readonly [string, string] | null): void {
    this.#set({ pair });
  }

  async vote(choice: "left" | "right" | "tie" | "both_bad"): Promise<void> {
    const { pair } = this.#state;
    if (!pair) return;
    await this.api.compare(pair[0], pair[1], choice);
    const chosen = choice === "left" ? pair[0] : choice === "right" ? pair[1] : null;
    const tree = chosen ? switchTo(this.#state.tree, chosen) : this.#state.tree;
    this.#set({ pair: null, tree });
    if (chosen) this.#keepLeaf();
  }

  /** Say how good an answer is; null takes it back. Shown at once, undone when the server refuses. */
  async rate(id: string, feedback: Feedback | null): Promise<void> {
    const before = this.#state.tree.messages.get(id)?.feedback ?? null;
    this.#change(id, (message) => ({ ...message, feedback }));
    this.#draw();
    try {
      await this.api.feedback(id, feedback);
    } catch (error) {
      this.#change(id, (message) => ({ ...message, feedback: before }));
      this.#draw();
      throw error;
    }
  }

  configure(change: Settings): void {
    const settings = { ...this.#state.settings, ...change };
    this.#set({ settings });
    this.#saveSettings();
  }

  #saveSettings(): void {
    const { id } = this.#state;
    if (id === null) return;
    clearTimeout(this.#saving);
    this.#saving = setTimeout(() => this.#flushSettings(), SAVE_MS);
  }

  /** What was chosen a moment ago is kept now: the conversation is asked, or left. */
  #flushSettings(): void {
    const { id } = this.#state;
    if (this.#saving === undefined || id === null) return;
    clearTimeout(this.#saving);
    this.#saving = undefined;
    const { model, ...settings } = this.#state.settings;
    void this.api.change(id, { settings, ...(model ? { model } : {}) }).catch(() => undefined);
  }

  #keepLeaf(): void {
    const { id, tree } = this.#state;
    if (id === null || tree.leaf === null || isLocal(tree.leaf)) return;
    // Which version was looked at last is a convenience: it may be lost.
    void this.api.change(id, { current_leaf: tree.leaf }).catch(() => undefined);
  }

  #question(text: string, parent: string | null, attachments: Attached[]): Message {
    const made = { id: `${LOCAL}${++this.#made}`, role: "user", text, parent_id: parent, attachments } as const;
    return { ...fullMessage(made), created_at: new Date().toISOString() };
  }

  #answer(parent: string): Message {
    const model = this.#state.settings.model ?? null;
    const made = { id: `${LOCAL}${++this.#made}`, role: "assistant", parent_id: parent, model } as const;
    return { ...fullMessage(made), status: "writing", created_at: new Date().toISOString() };
  }

  async #start(request: AnswerRequest, question: string | null, answers: string[]): Promise<void> {
    const opening = this.#opening;
    this.#flushSettings();
    const lives = answers.map((id) => {
      const live: Live = { run: "", abort: new AbortController(), stopWanted: false };
      this.#live.set(id, live);
      return live;
    });
    this.#tellLive();
    let started: AnswerStarted;
    try {
      started = await this.api.answer(this.#complete(request, question, answers));
    } catch (error) {
      if (opening !== this.#opening) return;
      for (const id of answers) {
        this.#live.delete(id);
        this.#change(id, (answer) => failed(answer, error));
      }
      this.#set({ pair: null });
      this.#tellLive();
      return;
    }
    if (opening !== this.#opening) return;
    let tree = this.#state.tree;
    if (question !== null && started.question_id) tree = rename(tree, question, started.question_id);
    const others = started.other ? [started.other] : [];
    const runs = [{ run_id: started.run_id, answer_id: started.answer_id }, ...others];
    const ids = answers.map((id, index) => runs[index]?.answer_id ?? id);
    answers.forEach((id, index) => {
      tree = rename(tree, id, ids[index]!);
      this.#live.delete(id);
      this.#live.set(ids[index]!, lives[index]!);
      lives[index]!.run = runs[index]?.run_id ?? "";
    });
    const isNew = this.#state.id === null && started.conversation_id !== null;
    this.#set({
      tree,
      id: started.conversation_id ?? this.#state.id,
      state: "ready",
      pair: renamed(this.#state.pair, answers, ids),
    });
    this.#tellLive();
    if (isNew) {
      this.#untitled = true;
      this.told.onConversation({ id: started.conversation_id! });
      if (Object.keys(this.#state.settings).length) this.#saveSettings();
    }
    await Promise.all(
      ids.map((id, index) => {
        const live = lives[index]!;
        if (!live.run) return Promise.resolve();
        if (live.stopWanted) this.#halt(id, live);
        return this.#listen(id, live);
      }),
    );
  }

  #complete(request: AnswerRequest, question: string | null, answers: string[]): AnswerRequest {
    const { settings, tree, id } = this.#state;
    const { model, params, instructions, persona_id, collections, tools } = settings;
    const full: AnswerRequest = {
      ...(model ? { model } : {}),
      ...(params && Object.keys(params).length ? { params } : {}),
      ...(instructions ? { instructions } : {}),
      ...(persona_id ? { persona_id } : {}),
      ...(collections?.length ? { collections } : {}),
      ...(tools?.length ? { tools } : {}),
      ...request,
    };
    if (!this.temporary) return id === null ? full : { ...full, conversation_id: id };
    // Nothing of a temporary conversation is at the server: it gets all of it each time.
    const { message_id: _, parent_id: __, text: ___, ...rest } = full;
    const upTo = request.action === "continue" ? (answers[0] ?? null) : question;
    const action = request.action === "continue" || request.action === "compare" ? request.action : "ask";
    return { ...rest, action, temporary: true, messages: asHistory(path(tree, upTo)) };
  }

  async #listen(id: string, live: Live): Promise<void> {
    const { signal } = live.abort;
    const conversation = this.#state.id;
    let over = false;
    try {
      for await (const heard of follow(live.run, this.api.wire, signal)) {
        if (live.untitled !== undefined) {
          if (heard.kind !== "event" || heard.event.kind !== "title") continue;
          this.#title(live.untitled, heard.event.data?.title);
          break;
        }
        if (over) {
          if (heard.kind === "event" && heard.event.kind === "title") this.#title(conversation, heard.event.data?.title);
          continue;
        }
        if (this.#live.get(id) !== live) return;
        if (heard.kind === "connection") this.#tellLive(id, heard.state);
        else if (heard.event.kind === "title") this.#title(conversation, heard.event.data?.title);
        else this.#change(id, (answer) => (live.grow ?? grow)(answer, heard.event), heard.event.kind !== "text");
        if (heard.kind === "event" && LAST_KINDS.has(heard.event.kind)) {
          // The next question can be asked; only the conversation's title may still come.
          over = true;
          this.#left.add(live.abort);
          this.#live.delete(id);
          this.#tellLive();
        }
      }
    } catch (error) {
      if (this.#live.get(id) !== live) return;
      if (error instanceof Gone) await this.#reread(id);
      else this.#change(id, (answer) => failed(answer, error));
    } finally {
      this.#left.delete(live.abort);
    }
    if (this.#live.get(id) !== live) return;
    this.#live.delete(id);
    this.#tellLive();
  }

  #title(id: string | null, title: unknown): void {
    if (id === null || typeof title !== "string" || !title) return;
    if (id === this.#state.id) this.#untitled = false;
    this.told.onTitle(id, title);
  }

  /** The run is over and forgotten: what became of the answer is in the conversation. */
  async #reread(id: string): Promise<void> {
    const conversation = this.#state.id;
    let found: Sent | undefined;
    try {
      if (conversation !== null)
        found = (await this.api.conversation(conversation)).messages.find((message) => message.id === id);
    } catch {
      // Then what is on the page is what there is.
    }
    if (this.#state.id !== conversation) return;
    this.#change(id, (answer) => ({
      ...answer,
      ...(found ? fullMessage(found) : {}),
      status: found?.status && found.status !== "writing" ? found.status : "stopped",
    }));
  }

  /** After a reload: take up the answers that are still being written. */
  async #resume(writing: Message[]): Promise<void> {
    if (!writing.length) return;
    const opening = this.#opening;
    const runs = await this.api.runs().catch(() => []);
    if (opening !== this.#opening) return;
    const found = new Map(runs.map((run) => [run.answer_id, run.run_id]));
    for (const message of writing) {
      const run = found.get(message.id);
      if (!run) {
        void this.#reread(message.id); // it ended between the two questions
        continue;
      }
      const live: Live = { run, abort: new AbortController(), stopWanted: false, grow: again(message) };
      this.#live.set(message.id, live);
      void this.#listen(message.id, live);
    }
    this.#tellLive();
  }

  #halt(id: string, live: Live): void {
    this.api.stop(live.run).catch(() => {
      if (this.#live.get(id) !== live) return;
      // It cannot be told; at least nothing more of it is drawn.
      live.abort.abort();
      this.#live.delete(id);
      this.#change(id, (answer) => ({ ...answer, status: "stopped" }));
      this.#tellLive();
    });
  }

  #leave(): void {
    for (const live of this.#live.values()) {
      if (this.#untitled && this.#state.id !== null && live.run) {
        live.untitled = this.#state.id;
        this.#left.add(live.abort);
      } else live.abort.abort();
    }
    this.#untitled = false;
    this.#live.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#flushSettings();
  }

  #change(id: string, change: (message: Message) => Message, atOnce = true): void {
    this.#state = { ...this.#state, tree: update(this.#state.tree, id, change) };
    if (atOnce) this.#draw();
    else this.#timer ??= setTimeout(() => this.#draw(), DRAW_MS);
  }

  #tellLive(id?: string, state?: Connection): void {
    const live = new Map([...this.#live.keys()].map((key) => [key, this.#state.live.get(key) ?? "open"] as const));
    if (id !== undefined && state !== undefined && live.has(id)) live.set(id, state);
    this.#set({ live });
  }

  #set(change: Partial<Snapshot>): void {
    this.#state = { ...this.#state, ...change };
    this.#draw();
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#state = { ...this.#state, shown: path(this.#state.tree) };
    for (const listener of [...this.#listeners]) listener();
  }
}

/** A pair with the ids that the server gave. */
function renamed(pair: Snapshot["pair"], from: string[], to: string[]): Snapshot["pair"] {
  const now = (id: string) => to[from.indexOf(id)] ?? id;
  return pair && [now(pair[0]), now(pair[1])];
}
