/** Which fields of a stored document were encoded together. */
import type { IndexPlan } from "./index-meta.js";

/** A field whose text was encoded. */
export interface EncodedField {
  readonly name: string;
  /** Its string; the values of a list one after the other, a blank between. */
  readonly text: string;
  /** It holds HTML, whose text was encoded. */
  readonly isHtml: boolean;
}

/**
 * The fields that a stored document's vector was made from, in their order: the text fields, and of a
 * passage behind the first, where each is a document, its own text alone.
 * @param textOf the string of a field.
 */
export function encodedFields(
  { passages, text_fields, html_fields = [], title_field }: IndexPlan,
  id: string,
  textOf: (field: string) => string,
): EncodedField[] {
  const isLater = passages === "documents" && !/#0$/.test(id);
  const shown = text_fields.find((field) => field !== title_field) ?? title_field;
  return (isLater ? [shown] : text_fields).map((name) => ({
    name,
    text: textOf(name),
    // A passage holds the text of its HTML.
    isHtml: html_fields.includes(name) && !(passages === "documents" && name === shown),
  }));
}
