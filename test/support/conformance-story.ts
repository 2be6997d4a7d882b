/**
 * Stories of the cluster's API, as clients tell them: each is a few requests in a row. `{i}` stands for
 * a name of the story's own, and `{name}` for a value that an earlier step kept.
 */

/** One request. */
export interface Step {
  readonly method: string;
  readonly path: string;
  /** Sent as JSON; a text or bytes as they are. */
  readonly body?: object | string | Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** Values kept from the answer: name → path of keys with dots between. */
  readonly keep?: Readonly<Record<string, string>>;
  /** Compares the answer byte for byte but for times. */
  readonly exact?: true;
}

/** A name for people and its requests. */
export interface Story {
  readonly title: string;
  /** What it is about, in the table that is printed. */
  readonly group: string;
  readonly steps: readonly Step[];
}

/** The content type of bodies of lines. */
export const NDJSON = { "content-type": "application/x-ndjson" };

/** A request; what has no type of its own is sent as JSON. */
export const step = (
  method: string,
  path: string,
  body?: Step["body"],
  more: Partial<Step> = {},
): Step => ({
  method,
  path,
  ...(body === undefined ? {} : { body }),
  ...more,
});

/** Objects, a line each. */
export const lines = (...each: readonly object[]): string =>
  each.map((line) => `${JSON.stringify(line)}\n`).join("");

/** Makes an index of eight small documents. */
const FILLED: readonly Step[] = [
  step("PUT", "/{i}", {
    mappings: {
      properties: {
        text: { type: "text" },
        kind: { type: "keyword" },
        year: { type: "integer" },
        parts: { type: "nested", properties: { name: { type: "keyword" } } },
      },
    },
  }),
  step(
    "POST",
    "/{i}/_bulk?refresh=true",
    lines(
      ...[
        "sea and shore",
        "a calm sea",
        "deep sea fishing",
        "the shore",
        "mountains",
        "sea",
        "lake",
        "a sea of words",
      ].flatMap((text, i) => [
        { index: { _id: String(i) } },
        {
          text,
          kind: i % 2 === 0 ? "even" : "odd",
          year: 2000 + i,
          parts: [{ name: `p${i % 3}` }],
        },
      ]),
    ),
    { headers: NDJSON },
  ),
];

/** Five of the eight documents. */
export const SEA = { match: { text: "sea" } };
/** A search of the story's index. */
export const search = (body: object, more = ""): Step => step("POST", `/{i}/_search${more}`, body);

/** A story over the eight documents. */
export const over = (group: string, title: string, ...steps: readonly Step[]): Story => ({
  group,
  title,
  steps: [...FILLED, ...steps],
});

/** A story of its own. */
export const story = (group: string, title: string, ...steps: readonly Step[]): Story => ({
  group,
  title,
  steps,
});
