/** Names and patterns as clusters write them: `*` stands for any characters. */

/**
 * Whether `name` fits `pattern`. Patterns come from strangers: the pattern's pieces are looked for
 * from left to right and none is tried twice, so the work grows with the lengths and nothing else.
 */
export function matchesPattern(pattern: string, name: string): boolean {
  const first = pattern.indexOf("*");
  if (first < 0) return pattern === name;
  const last = pattern.lastIndexOf("*");
  const end = name.length - (pattern.length - last - 1);
  if (first > end || !name.startsWith(pattern.slice(0, first))) return false;
  if (!name.endsWith(pattern.slice(last + 1))) return false;
  let from = first;
  for (let at = first; at < last;) {
    const next = pattern.indexOf("*", at + 1);
    const length = next - at - 1;
    if (length > end - from) return false;
    if (length > 0) {
      const found = name.indexOf(pattern.slice(at + 1, next), from);
      if (found < 0 || found + length > end) return false;
      from = found + length;
    }
    at = next;
  }
  return true;
}
