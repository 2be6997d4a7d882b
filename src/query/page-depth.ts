/**
 * How deep the pages of a mode go that ranks only its best hits. It does not grow with the page: a
 * ranking over more hits is another one, and its pages would repeat hits of the first and miss others.
 */
import { CspladeError } from "../errors/csplade-error.js";

/** Hits that pages reach where nothing else is asked for. */
export const PAGINATION_DEPTH = 100;

/**
 * @param option that sets the depth, for the message.
 * @param asked `from` and `size` together.
 * @throws CspladeError `query_invalid` for a page beyond it.
 */
export function demandWithin(depth: number, option: string, asked: number): void {
  if (asked <= depth) return;
  throw new CspladeError(
    "query_invalid",
    `The page ends at hit ${asked}, and only the best ${depth} are ranked (${option}).`,
    { hint: `Set ${option} to the last hit that anybody will see, for every page alike.` },
  );
}
