/** What administrators and annotators look after. */
import { getJson, getList, sendJson } from "../http";
import type { Role } from "../session";

const id = encodeURIComponent;

export interface Account {
  id: string;
  name: string;
  email: string;
  role: Role;
  status: "active" | "disabled";
  daily_tokens: number | null;
  totp_enabled?: boolean;
  created_at: string;
  last_seen_at: string | null;
}

export const listPeople = (q: string) => getList<Account>("/admin/people", { q });
export const changePerson = (one: string, changes: Partial<Pick<Account, "role" | "status" | "daily_tokens">>) =>
  sendJson<Account>("PATCH", `/admin/people/${id(one)}`, changes);
export const deletePerson = (one: string) => sendJson("DELETE", `/admin/people/${id(one)}`);

export interface Invitation {
  id: string;
  role: Role;
  email: string | null;
  created_at: string;
  expires_at: string;
  used_at?: string | null;
}

export const listInvitations = () => getList<Invitation>("/admin/invitations");
export const createInvitation = (asked: { role: Role; email?: string; expires_in_days: number }) =>
  sendJson<Invitation & { url: string }>("POST", "/admin/invitations", asked);
export const deleteInvitation = (one: string) => sendJson("DELETE", `/admin/invitations/${id(one)}`);

export type Moderating = "off" | "flag" | "block";

export interface ServerSettings {
  sign_up: "closed" | "open" | "invitation";
  retention: Record<string, number | null>; // kind → days, null = for good
  moderation: { input: Moderating; output: Moderating };
  default_model: string | null;
  [other: string]: unknown;
}

export const getSettings = () => getJson<ServerSettings>("/admin/settings");
export const changeSettings = (changes: Partial<ServerSettings>) =>
  sendJson<ServerSettings>("PATCH", "/admin/settings", changes);

export interface AuditEntry {
  sequence: number;
  at: string;
  actor: string;
  actor_name?: string | null;
  action: string;
  target: string;
  address: string;
  details: Record<string, unknown> | string;
}

export const readAudit = (query: { before?: number; action?: string; actor?: string; limit?: number }) =>
  getJson<{ data: AuditEntry[]; next?: number | string | null }>("/admin/audit", { ...query });

export interface UsageRow {
  day: string;
  model: string;
  person_id?: string;
  name?: string;
  requests: number;
  prompt_tokens: number;
  completion_tokens: number;
}

export const readUsage = (days: number) => getList<UsageRow>("/admin/usage", { days });

export interface Votes {
  up: number;
  down: number;
}

export interface FeedbackReport {
  days: (Votes & { day: string })[];
  models: (Votes & { model: string | null; votes: number; wins: number })[];
  reasons: { reason: string; rating: string; count: number }[];
  comparisons: { left: number; right: number; tie: number; both_bad: number };
  better_answers: number;
}

export const readFeedback = () => getJson<FeedbackReport>("/admin/feedback");

export type Appeal = "none" | "open" | "upheld" | "lifted";

export interface Moderated {
  id: string;
  direction: "input" | "output";
  blocked: boolean;
  categories: string[];
  reason: { en: string; zh: string };
  scores: Record<string, number>;
  appeal: { state: Appeal; text: string | null; note: string | null };
  created_at: string;
  decided_at: string | null;
  person?: { id: string; name: string };
  text?: string | null; // only where its author appealed
}

export const listModerated = (query: { appeal?: Appeal; before?: string; limit?: number }) =>
  getList<Moderated>("/admin/moderation", { ...query });
export const decide = (one: string, decision: "upheld" | "lifted", note: string) =>
  sendJson<Moderated>("POST", `/admin/moderation/${id(one)}`, { decision, note });
