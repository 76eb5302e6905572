/** What the arena shares with the rest of the page: requests, and what a turn is. */
export { ConnectionLost, reach, ServerError } from "./http";

export interface ChatMessage {
  role: "user" | "assistant";
  content: string;
}
