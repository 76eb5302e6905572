import { useChatStrings } from "../strings-chat";
import type { Source } from "./types";

export function SourceList(props: { heading: string; sources: Source[]; onOpen: (source: Source) => void }) {
  return (
    <div class="sources" role="group" aria-label={props.heading}>
      <h2>{props.heading}</h2>
      <ol>
        {[...props.sources].sort((a, b) => a.number - b.number).map((source) => (
          <li key={source.number}>
            <button type="button" onClick={() => props.onOpen(source)}>
              <span class="chip" aria-hidden="true">
                {source.number}
              </span>
              <span class="source-title">{source.title || source.uri}</span>
              <span class="source-place">{place(source.uri ?? "")}</span>
            </button>
          </li>
        ))}
      </ol>
    </div>
  );
}

export function CitationChip(props: { source: Source; onOpen: (source: Source) => void }) {
  const strings = useChatStrings();
  const { source } = props;
  return (
    <button
      type="button"
      class="chip"
      data-tip={source.title}
      aria-label={strings.openSource(source.number, source.title)}
      onClick={() => props.onOpen(source)}
    >
      {source.number}
    </button>
  );
}

/** Where a source is, short enough for one line: a page's host and path, a document's file name. */
export function place(uri: string): string {
  const short = uri.replace(/^(https?:\/\/|collection:[^/]*\/)/, "").replace(/[#?].*$/, "");
  try {
    return decodeURI(short);
  } catch {
    return short;
  }
}
