/** Server-sent events out of text that arrives in any pieces. */

export interface ServerEvent {
  /** The last `id:` that was sent, of this event or of an earlier one. */
  id: string;
  kind: string;
  data: string;
}

export class EventReader {
  #rest = "";
  #id = "";

  /** Add a piece; get every event that it completes. Comments and unknown fields are dropped. */
  read(text: string): ServerEvent[] {
    // A \r at the very end may be half of \r\n: it waits for what follows.
    let buffer = this.#rest + text;
    const held = buffer.endsWith("\r") ? "\r" : "";
    if (held) buffer = buffer.slice(0, -1);
    buffer = buffer.replace(/\r\n?/g, "\n");
    const blocks = buffer.split("\n\n");
    this.#rest = (blocks.pop() ?? "") + held;
    return blocks.flatMap((block) => this.#event(block));
  }

  /** The same, only the `data` of each. */
  push(text: string): string[] {
    return this.read(text).map((event) => event.data);
  }

  #event(block: string): ServerEvent[] {
    let kind = "message";
    const data: string[] = [];
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      const name = at < 0 ? line : line.slice(0, at);
      const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
      if (name === "data") data.push(value);
      else if (name === "event") kind = value;
      else if (name === "id" && !value.includes("\0")) this.#id = value;
    }
    return data.length ? [{ id: this.#id, kind, data: data.join("\n") }] : [];
  }
}
