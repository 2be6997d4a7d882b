/**
 * Id of a document's n-th passage (from 0) in `documents` mode. No two documents share one:
 * what follows the last `#` is the number, what stands before it the document's id.
 */
export function passageId(id: string, n: number): string {
  return `${id}#${n}`;
}
