/** What stands in a text itself, as against what a model adds to it. */

/** A term of a text as its vector counts it, in models that have a lexical part. */
export interface LexicalWord {
  /** The term's id: a row of the vocabulary, or a hash. */
  readonly id: number;
  /** The stem. */
  readonly term: string;
  /** How often it stands in the text, less for what a conversation's earlier turns said; 0 for a term that the model added to a question. */
  readonly count: number;
  /** Its inverse document frequency in the texts that the model was made from. */
  readonly idf: number;
}

/**
 * The terms that stand in a text, in order, as parallel arrays. Offsets are UTF-16 code units
 * into the text; a term whose place is not known has `end` = `start`.
 */
export interface LiteralTerms {
  readonly ids: Uint32Array<ArrayBuffer>;
  readonly starts: Uint32Array<ArrayBuffer>;
  readonly ends: Uint32Array<ArrayBuffer>;
}
