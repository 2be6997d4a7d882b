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

/** A word of a document's field that a term came from which the model added. */
export interface OriginSpan {
  readonly field: string;
  /** UTF-16 code units into the field's string; the values of a list stand one after the other, a blank between. */
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
  /** The word as it stands there. */
  readonly text: string;
  /** Share of the term's weight that is lost when the text is encoded without the word, 0 to 1. */
  readonly share: number;
}
