/** Server-sent events out of text that arrives in any pieces. */
export class EventReader {
  #rest = "";

  /** Add a piece; get the `data` of every event that it completes. Comments and other fields are dropped. */
  push(text: string): string[] {
    // A \r at the very end may be half of \r\n: it waits for what follows.
    let buffer = this.#rest + text;
    const held = buffer.endsWith("\r") ? "\r" : "";
    if (held) buffer = buffer.slice(0, -1);
    buffer = buffer.replace(/\r\n?/g, "\n");
    const events = buffer.split("\n\n");
    this.#rest = (events.pop() ?? "") + held;
    return events.flatMap((event) => {
      const lines = event.split("\n").filter((line) => /^data(:|$)/.test(line));
      return lines.length ? [lines.map((line) => line.replace(/^data:? ?/, "")).join("\n")] : [];
    });
  }
}
