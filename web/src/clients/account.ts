/** One's own account: signing in and out, password, second factor, sessions, keys, memory, personas. */
import { getList, sendJson } from "../http";

const id = encodeURIComponent;

export interface Credentials {
  email: string;
  password: string;
  code?: string;
}

export const signIn = (credentials: Credentials) => sendJson("POST", "/session", credentials);
export const signOut = () => sendJson("DELETE", "/session");

export interface NewAccount {
  name: string;
  email: string;
  password: string;
}

export const setUp = (token: string, account: NewAccount) => sendJson("POST", "/setup", { token, ...account });
export const signUp = (account: NewAccount, invitation?: string) =>
  sendJson("POST", "/sign-up", invitation ? { ...account, invitation } : account);

export const changePassword = (current: string, next: string) =>
  sendJson("POST", "/me/password", { current, new: next });
export const deleteMe = (password: string) => sendJson("DELETE", "/me", { password });

export interface SignIn {
  id: string;
  created_at: string;
  last_seen_at: string;
  address: string;
  agent: string;
  current?: boolean;
}

export const listSessions = () => getList<SignIn>("/me/sessions");
export const revokeSession = (one: string) => sendJson("DELETE", `/me/sessions/${id(one)}`);

export const SCOPES = ["chat", "history", "files", "fine_tuning", "knowledge", "account", "admin"] as const;
export type Scope = (typeof SCOPES)[number];

export interface ApiKey {
  id: string;
  name: string;
  start: string;
  scopes: Scope[];
  created_at: string;
  last_used_at: string | null;
  expires_at: string | null;
}

export const listKeys = () => getList<ApiKey>("/me/keys");
export const createKey = (asked: { name: string; scopes: Scope[]; expires_in_days?: number }) =>
  sendJson<ApiKey & { key: string }>("POST", "/me/keys", asked);
export const revokeKey = (one: string) => sendJson("DELETE", `/me/keys/${id(one)}`);

export interface TotpStart {
  secret: string;
  uri: string;
  svg?: string;
  modules?: (string | number[] | boolean[])[];
}

export const startTotp = () => sendJson<TotpStart>("POST", "/me/totp", {});
export const confirmTotp = (code: string) =>
  sendJson<{ recovery_codes: string[] }>("POST", "/me/totp/confirm", { code });
export const removeTotp = (password: string) => sendJson("DELETE", "/me/totp", { password });

export interface Memory {
  id: string;
  text: string;
  by?: "person" | "model";
  created_at: string;
}

export const listMemories = () => getList<Memory>("/memories");
export const addMemory = (text: string) => sendJson<Memory>("POST", "/memories", { text });
export const changeMemory = (one: string, text: string) => sendJson<Memory>("PATCH", `/memories/${id(one)}`, { text });
export const deleteMemory = (one: string) => sendJson("DELETE", `/memories/${id(one)}`);

export interface Persona {
  id: string;
  name: string;
  instructions: string;
  model: string | null;
  params: { temperature?: number } | null;
  shared: boolean; // everybody may use it
  own: boolean;
}

export type PersonaDraft = Omit<Persona, "id" | "own" | "shared"> & { shared?: boolean };

export const listPersonas = () => getList<Persona>("/personas");
export const createPersona = (draft: PersonaDraft) => sendJson<Persona>("POST", "/personas", draft);
export const changePersona = (one: string, draft: PersonaDraft) =>
  sendJson<Persona>("PATCH", `/personas/${id(one)}`, draft);
export const deletePersona = (one: string) => sendJson("DELETE", `/personas/${id(one)}`);

export interface PageModel {
  id: string;
  title: string;
  default?: boolean;
}

export const listPageModels = () => getList<PageModel>("/models");
