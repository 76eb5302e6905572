/** The server's QR code, drawn element by element: no HTML from a string, no image from elsewhere. */

/** The paths of an SVG text, and its view box; nothing else of it is used. */
export function readSvg(svg: string): { viewBox: string; paths: { d: string; stroke: boolean; transform?: string }[] } | null {
  const viewBox = /\bviewBox="([\d.\s-]+)"/.exec(svg)?.[1];
  const width = /<svg[^>]*\bwidth="([\d.]+)/.exec(svg)?.[1];
  const height = /<svg[^>]*\bheight="([\d.]+)/.exec(svg)?.[1];
  const box = viewBox ?? (width && height ? `0 0 ${width} ${height}` : null);
  const paths = [...svg.matchAll(/<path\b([^>]*)>/g)].flatMap(([, attributes]) => {
    const d = /\bd="([MmLlHhVvZz\d\s.,-]+)"/.exec(attributes!)?.[1];
    const transform = /\btransform="(scale\([\d.]+\))"/.exec(attributes!)?.[1];
    return d ? [{ d, stroke: /\bstroke="/.test(attributes!), ...(transform ? { transform } : {}) }] : [];
  });
  return box && paths.length ? { viewBox: box, paths } : null;
}

/** Always dark on white, in dark colours too: cameras expect it. */
export function QrCode(props: { svg?: string | undefined; modules?: unknown[] | undefined; label: string }) {
  const quiet = 4;
  if (props.modules?.length) {
    const rows = props.modules.map((row) => (typeof row === "string" ? [...row].map(Number) : (row as number[])));
    const size = rows.length + 2 * quiet;
    const d = rows
      .flatMap((row, y) => row.flatMap((on, x) => (Number(on) ? [`M${x + quiet} ${y + quiet}h1v1h-1z`] : [])))
      .join("");
    return (
      <svg class="qr" viewBox={`0 0 ${size} ${size}`} role="img" aria-label={props.label}>
        <path class="qr-dark" d={d} />
      </svg>
    );
  }
  const found = props.svg ? readSvg(props.svg) : null;
  if (!found) return null;
  return (
    <svg class="qr" viewBox={found.viewBox} role="img" aria-label={props.label}>
      {found.paths.map((path) => (
        <path key={path.d} class={path.stroke ? "qr-lines" : "qr-dark"} d={path.d} transform={path.transform} />
      ))}
    </svg>
  );
}
