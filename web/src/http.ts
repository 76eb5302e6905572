/** Requests to the server: what goes wrong, and whether it is there at all. */
import { createStore } from "./store";

/** The server said no; `message` is its own reason, `code` what a program can tell it by. */
export class ServerError extends Error {
  constructor(
    message: string,
    readonly status = 0,
    readonly code = "",
    readonly retryAfter = 0, // seconds, of a 429
  ) {
    super(message);
  }
}

/** The server could not be reached, or went away in the middle. */
export class ConnectionLost extends Error {}

/** Whether the last request reached the server. `useConnection` looks after coming back. */
export const reachable = createStore(true);

const signedOut = new Set<() => void>();

/** Told when a request is refused because nobody is signed in any more. */
export function onSignedOut(listener: () => void): () => void {
  signedOut.add(listener);
  return () => void signedOut.delete(listener);
}

// A wrong password or a missing code is an answer to a form, not the end of a session.
const ABOUT_A_FORM = new Set(["invalid_credentials", "second_factor_required", "invalid_code", "wrong_password"]);

/** Fetch; anything but a success is thrown as `ServerError` or `ConnectionLost`. */
export async function reach(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (init?.signal?.aborted) throw error;
    reachable.set(false);
    throw new ConnectionLost();
  }
  if (response.ok) {
    reachable.set(true);
    return response;
  }
  const body: unknown = await response.json().catch(() => null);
  const code = (body as { error?: { code?: unknown } } | null)?.error?.code;
  if ([502, 503, 504].includes(response.status) && !code) {
    reachable.set(false); // a proxy's words: what is behind it does not answer
    throw new ConnectionLost();
  }
  reachable.set(true);
  const told = errorMessage(body) ?? `HTTP ${response.status}`;
  const wait = Number(response.headers.get("Retry-After") ?? 0);
  const error = new ServerError(told, response.status, typeof code === "string" ? code : "", wait || 0);
  if (error.status === 401 && !ABOUT_A_FORM.has(error.code)) for (const tell of signedOut) tell();
  throw error;
}

/** The server's reason in OpenAI's form of an error, if that is what `body` is. */
export function errorMessage(body: unknown): string | undefined {
  const error = (body as { error?: { message?: unknown } } | null)?.error;
  return typeof error?.message === "string" ? error.message : undefined;
}

const ROOT = "/v1/chatwright";

type Query = Record<string, string | number | boolean | null | undefined>;

/** `/v1/chatwright` + path, with what of `query` is said. */
export function route(path: string, query: Query = {}): string {
  const said = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  const text = new URLSearchParams(said.map(([name, value]) => [name, String(value)])).toString();
  return ROOT + path + (text ? `?${text}` : "");
}

export async function getJson<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await reach(route(path, query), signal ? { signal } : undefined)).json();
}

export const getList = async <T>(path: string, query: Query = {}): Promise<T[]> =>
  (await getJson<{ data: T[] }>(path, query)).data;

export async function sendJson<T>(
  method: "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: object,
): Promise<T> {
  const init: RequestInit = { method };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const response = await reach(route(path), init);
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** Send one file as a form, telling how much of it is there (0–1). */
export function sendFile<T>(path: string, file: File, onProgress?: (share: number) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch cannot tell how far an upload is
    request.open("POST", route(path));
    request.upload.onprogress = (event) =>
      event.lengthComputable && onProgress?.(event.loaded / event.total);
    request.onerror = () => {
      reachable.set(false);
      reject(new ConnectionLost());
    };
    request.onload = () => {
      let body: any = null;
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // Not ours to read: the status says enough.
      }
      if (request.status < 300) resolve(body as T);
      else
        reject(
          new ServerError(
            errorMessage(body) ?? `HTTP ${request.status}`,
            request.status,
            String(body?.error?.code ?? ""),
          ),
        );
      if (request.status === 401) for (const tell of signedOut) tell();
    };
    const form = new FormData();
    form.append("file", file);
    request.send(form);
  });
}
