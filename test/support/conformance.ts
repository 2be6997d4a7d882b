/**
 * Tells stories of the API to a cluster, once straight and once through the gateway, and compares
 * status, headers and answer of every step.
 */
import { isDeepStrictEqual } from "node:util";
import { SEARCHES } from "./conformance-searches.js";
import type { Step, Story } from "./conformance-story.js";
import { WRITES } from "./conformance-writes.js";
import { send, type Answer } from "./sent-as-is.js";

/** What was found of one story. */
export interface StoryResult {
  readonly group: string;
  readonly title: string;
  readonly steps: number;
  /** Steps that were answered in another way, and how. */
  readonly differences: readonly string[];
}

/** Where stories are told. */
export interface Fronts {
  readonly cluster: string;
  readonly gateway: string;
}

/** Tells stories one after the other. @param chosen all of them without it. */
export async function tellStories(
  { cluster, gateway }: Fronts,
  chosen: readonly Story[] = [...SEARCHES, ...WRITES],
): Promise<StoryResult[]> {
  const results: StoryResult[] = [];
  for (const [number, story] of chosen.entries()) {
    const straight = await tell(cluster, story, `conformance-s${number}`);
    const through = await tell(gateway, story, `conformance-g${number}`);
    const differences = story.steps.flatMap(({ method, path }, i) => {
      const [wanted, got] = [straight[i]!, through[i]!];
      if (isDeepStrictEqual(wanted, got)) return [];
      return [`${method} ${path}: ${JSON.stringify(wanted)} became ${JSON.stringify(got)}`];
    });
    const { group, title, steps } = story;
    results.push({ group, title, steps: steps.length, differences });
  }
  return results;
}

/** A table of the groups: stories, steps, and how many stories differ. */
export function tableOf(results: readonly StoryResult[]): string {
  const groups = new Map<string, { stories: number; steps: number; differ: number }>();
  for (const { group, steps, differences } of results) {
    const row = groups.get(group) ?? { stories: 0, steps: 0, differ: 0 };
    row.stories += 1;
    row.steps += steps;
    row.differ += differences.length > 0 ? 1 : 0;
    groups.set(group, row);
  }
  const line = (name: string, ...numbers: (number | string)[]) =>
    `| ${name.padEnd(14)} | ${numbers.map((each) => String(each).padStart(8)).join(" | ")} |`;
  const rows = [...groups].map(([name, { stories, steps, differ }]) =>
    line(name, stories, steps, differ),
  );
  return [line("group", "stories", "requests", "differ"), ...rows].join("\n");
}

async function tell(url: string, { steps }: Story, name: string): Promise<unknown[]> {
  const kept = new Map([["i", name]]);
  const seen: unknown[] = [];
  for (const step of steps) {
    const answer = await sendStep(url, step, kept);
    const text = answer.body.toString("utf8");
    for (const [as, path] of Object.entries(step.keep ?? {})) {
      kept.set(as, String(valueAt(parsed(text), path)));
    }
    seen.push(comparable(answer, text, step, name));
  }
  await send(`${url}/${name}*`, "DELETE", {});
  return seen;
}

async function sendStep(
  url: string,
  step: Step,
  kept: ReadonlyMap<string, string>,
): Promise<Answer> {
  const filled = (text: string) =>
    text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => kept.get(name) ?? whole);
  const { method, body, headers = {} } = step;
  const bytes =
    body instanceof Buffer
      ? body
      : body === undefined
        ? undefined
        : Buffer.from(filled(typeof body === "string" ? body : JSON.stringify(body)));
  const type = bytes === undefined ? {} : { "content-type": "application/json" };
  return await send(
    url + filled(step.path),
    method,
    {
      ...type,
      ...(bytes === undefined ? {} : { "content-length": String(bytes.length) }),
      ...headers,
    },
    bytes,
  );
}

/** Headers that belong to a connection, or to how long a body is. */
const OF_CONNECTIONS = new Set([
  "connection",
  "keep-alive",
  "content-length",
  "transfer-encoding",
  "date",
  "task_resource_usage",
]);

/** Parts of answers that no two requests share. */
const VOLATILE =
  /^(took|_scroll_id|pit_id|(index\.)?uuid|(index\.)?creation_date|creation_time|created_date|timestamp|epoch|task|node|node_id|nodes|node_name|ephemeral_id|.*_in_millis|.*_in_nanos|time|cluster_uuid|stack_trace|modified_date.*|allocation_id|search_id|name)$/;

function comparable(
  { status, headers }: Answer,
  text: string,
  { exact, headers: sent = {} }: Step,
  name: string,
): unknown {
  const kept = Object.entries(headers)
    .filter(([header]) => !OF_CONNECTIONS.has(header))
    .map(([header, value]) => `${header}: ${withoutName(String(value), name)}`)
    .sort();
  if (sent["accept-encoding"] !== undefined) return { status, kept };
  if (exact === true) {
    return { status, kept, text: withoutName(text.replaceAll(/"took":\d+/g, ""), name) };
  }
  const json = parsed(text);
  const body =
    json === undefined
      ? withoutName(text, name).replaceAll(/took: \d+/g, "")
      : withoutVolatile(json, name);
  return { status, kept, body };
}

function withoutVolatile(value: unknown, name: string): unknown {
  if (typeof value === "string") return withoutName(value, name);
  if (Array.isArray(value)) return value.map((each) => withoutVolatile(each, name));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [
      withoutName(key, name),
      VOLATILE.test(key) ? typeof each : withoutVolatile(each, name),
    ]),
  );
}

/** The story's own name, and what the cluster makes of addresses and ids, taken out. */
function withoutName(text: string, name: string): string {
  return text
    .replaceAll(name, "{i}")
    .replaceAll(/(?<![\w-])(?=[\w-]*[A-Z0-9])[\w-]{22}(?![\w-])/g, "{id}")
    .replaceAll(/(?<=context found for id \[)\d+/g, "{id}")
    .replaceAll(/\/127\.0\.0\.1:\d+/g, "{address}");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function valueAt(value: unknown, path: string): unknown {
  return path
    .split(".")
    .reduce<unknown>(
      (at, key) => (at as Readonly<Record<string, unknown>> | undefined)?.[key],
      value,
    );
}
