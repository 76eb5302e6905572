/** What went wrong, in words for the reader. */
import { ConnectionLost, ServerError } from "../http";
import { currentLanguage } from "../settings";
import { SHELL } from "../strings-shell";
import { toast } from "./toast";

export function problemText(error: unknown): string {
  const strings = SHELL[currentLanguage()];
  if (error instanceof ConnectionLost) return strings.lost;
  if (error instanceof ServerError && error.status === 429 && error.code !== "insufficient_quota")
    return strings.slower(error.retryAfter);
  const told = error instanceof ServerError ? strings.codes[error.code] : undefined;
  if (told) return told;
  return strings.failed(error instanceof Error ? error.message : String(error));
}

/** Do it; say so where it fails. Whether it worked. */
export async function attempt(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    // Signed out in the middle: the page asks to sign in again, which says enough.
    if (!(error instanceof ServerError && error.status === 401))
      toast(problemText(error), { tone: "problem" });
    return false;
  }
}

/** Put text on the clipboard; whether the browser let us. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    toast(SHELL[currentLanguage()].copyFailed, { tone: "problem" });
    return false;
  }
}
