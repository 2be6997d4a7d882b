/**
 * Which write stored a document, kept behind its content hash: `HASH@7` says that this write gave it
 * the version 7, `HASH@7:21` also that it is version 21 of its source. An application that changes a part
 * of the document keeps the hash, but not the version: so a run that goes on after the swap of an alias
 * knows what is its own. Writes without a version of their source (ingest, follow) leave no stamp.
 */

/** A content hash and what its stamp says. */
export interface StampedHash {
  /** From `contentHash`. */
  readonly hash: string;
  /** The `_version` that the write gave the document; undefined without a stamp. */
  readonly written?: number;
  /** The version of the source's state that was written. */
  readonly source?: number;
}

/** What is stored as `csplade_hash`. */
export function stampHash({ hash, written, source }: StampedHash): string {
  if (written === undefined) return hash;
  return `${hash}@${written}${source === undefined || source === written ? "" : `:${source}`}`;
}

/** Reads what {@link stampHash} wrote; a hash without a stamp is one. */
export function readStamp(stored: string): StampedHash {
  const found = /^(.*)@(\d+)(?::(\d+))?$/s.exec(stored);
  if (found === null) return { hash: stored };
  const [, hash = "", written, source = written] = found;
  return { hash, written: Number(written), source: Number(source) };
}
