/** What scores texts against a question better, and slower, than an index: a second look at a search's first hits. */

/** Scores texts against a question. */
export interface Reranker {
  /** What people know it by. */
  readonly name: string;
  /**
   * One score for each text, larger for what answers better; the scale is the model's own.
   * @throws the signal's reason; Error for what fails, after which it can be asked again.
   */
  score(
    question: string,
    texts: readonly string[],
    signal: AbortSignal,
  ): Promise<readonly number[]>;
  close(): Promise<void>;
}
