/**
 * A JSON object as somebody wrote it: its own text, and where its members stand. It is read, cut and
 * added to; it is never rebuilt, so the order of its fields and the digits of its numbers stay.
 */
import { messageOf } from "../errors/csplade-error.js";
import {
  inspect,
  itemsOf,
  membersOf,
  skipSpace,
  withoutComments,
  type Member,
  type Span,
} from "./positions.js";

/** A further member: its name, and its value as JSON text. */
export type NewMember = readonly [name: string, json: string];

/** A JSON object, read from text. */
export class JsonObject {
  private constructor(
    /** Valid JSON, one object. */
    readonly text: string,
    /** Its members in their order. */
    readonly members: readonly Member[],
    /** Its numbers that JavaScript would write otherwise. */
    readonly unusual: readonly Span[],
  ) {}

  /**
   * Reads a text.
   * @returns the object, or why it is none that a cluster takes: no JSON, no object, or a name that
   *   stands twice.
   */
  static read(
    text: string,
  ): { readonly object: JsonObject } | { readonly problem: string; readonly duplicate?: string } {
    const json = jsonOf(text);
    if (typeof json !== "string") return json;
    if (json.charCodeAt(skipSpace(json, 0)) !== 0x7b)
      return { problem: "is JSON but not an object" };
    const { members, unusual, duplicate } = inspect(json);
    if (duplicate !== undefined) {
      const named = JSON.stringify(duplicate);
      return { problem: `has the key ${named} twice, which the cluster refuses`, duplicate };
    }
    return { object: new JsonObject(json, members, unusual) };
  }

  /** The object that `JSON.stringify` writes of a value. @throws TypeError if it writes none. */
  static of(value: object): JsonObject {
    const read = JsonObject.read(JSON.stringify(value));
    if ("object" in read) return read.object;
    throw new TypeError(`The value ${read.problem}.`);
  }

  /** The value of a member of its own, if it has it. */
  value(name: string): unknown {
    const found = this.members.find((member) => member.name === name);
    return found === undefined ? undefined : JSON.parse(this.text.slice(found.value, found.end));
  }

  /** The text of a member's value, if it has it. */
  textOf(name: string): string | undefined {
    const found = this.members.find((member) => member.name === name);
    return found === undefined ? undefined : this.text.slice(found.value, found.end);
  }

  /** All of it as a value. Numbers are JavaScript's: for reading, not for writing. */
  parse(): Readonly<Record<string, unknown>> {
    return JSON.parse(this.text) as Readonly<Record<string, unknown>>;
  }

  /** Its text with further members behind its own; their names must be new. */
  with(more: readonly NewMember[]): string {
    if (more.length === 0) return this.text;
    const added = more.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(",");
    const last = this.members.at(-1);
    const at = last?.end ?? skipSpace(this.text, 0) + 1;
    return `${this.text.slice(0, at)}${last === undefined ? "" : ","}${added}${this.text.slice(at)}`;
  }

  /** The object without some of its members; itself if it has none of them. */
  without(isCut: (name: string) => boolean): JsonObject {
    const cut = cutMembers(this.text, this.members, ({ name }) => isCut(name));
    return cut === this.text ? this : trusted(cut);
  }

  /**
   * The values of a field: a member of that name, or what a name with dots leads to through objects,
   * and through the objects of arrays, as clusters read it.
   */
  valuesAt(field: string): unknown[] {
    return placesOf(this.text, this.members, field.split(".")).map(({ member }): unknown =>
      JSON.parse(this.text.slice(member.value, member.end)),
    );
  }

  /** The object without the places of a field (see {@link valuesAt}). */
  withoutField(field: string): JsonObject {
    const places = placesOf(this.text, this.members, field.split("."));
    if (places.length === 0) return this;
    const gone = new Set(places.map(({ member }) => member));
    let text = this.text;
    // From the last place to the first: what stands before a cut stays where it is.
    const holders = [...new Set(places.map(({ siblings }) => siblings))];
    const startOf = (siblings: readonly Member[]) => siblings[0]?.start ?? 0;
    for (const siblings of holders.sort((a, b) => startOf(b) - startOf(a))) {
      text = cutMembers(text, siblings, (member) => gone.has(member));
    }
    return trusted(text);
  }

  /**
   * A text that two objects share only if they are the same: fields in one order, numbers as they are
   * written. For objects whose numbers JavaScript writes alike it is what it always was, their JSON.
   */
  canonical(): string {
    if (this.unusual.length === 0) return sortedJson(this.text) ?? this.text;
    const spelled = this.unusual.map(({ start, end }) => this.text.slice(start, end));
    let marked = "";
    let from = 0;
    for (const [i, { start, end }] of this.unusual.entries()) {
      marked += `${this.text.slice(from, start)}"\\u0000${spelled[i] ?? ""}"`;
      from = end;
    }
    const sorted = sortedJson(marked + this.text.slice(from)) ?? this.text;
    // The list tells a number from a string that looks like a marked one.
    return `${sorted}\n${spelled.sort().join(" ")}`;
  }
}

/** An object that was an object before something was cut out of it. */
function trusted(text: string): JsonObject {
  const read = JsonObject.read(text);
  if ("object" in read) return read.object;
  throw new TypeError(`A JSON object that was cut ${read.problem}.`);
}

/** The text as JSON without what only clusters take, or why it is none. */
function jsonOf(text: string): string | { readonly problem: string } {
  try {
    JSON.parse(text);
    return text;
  } catch (thrown) {
    const plain = withoutComments(text);
    if (plain !== text) return jsonOf(plain);
    return { problem: `is not JSON: ${messageOf(thrown)}` };
  }
}

/** A place of a field and the members of the object it stands in. */
interface Place {
  readonly member: Member;
  readonly siblings: readonly Member[];
}

/** Arrays within arrays that a field is looked for in; clusters allow 20. */
const MOST_ARRAYS = 100;

function placesOf(text: string, members: readonly Member[], parts: readonly string[]): Place[] {
  for (let n = parts.length; n > 0; n--) {
    const name = parts.slice(0, n).join(".");
    const member = members.find((each) => each.name === name);
    if (member === undefined) continue;
    const rest = parts.slice(n);
    if (rest.length === 0) return [{ member, siblings: members }];
    const found = placesBelow(text, member.value, rest);
    if (found.length > 0) return found;
  }
  return [];
}

function placesBelow(text: string, at: number, parts: readonly string[], depth = 0): Place[] {
  if (text.startsWith("[", at)) {
    if (depth === MOST_ARRAYS) return [];
    return itemsOf(text, at).flatMap(({ start }) => placesBelow(text, start, parts, depth + 1));
  }
  return placesOf(text, membersOf(text, at), parts);
}

/** Cuts members out of an object, each with the comma that it no longer needs; all else keeps its place. */
function cutMembers(
  text: string,
  members: readonly Member[],
  isCut: (member: Member) => boolean,
): string {
  let kept = "";
  let from = 0;
  let before: Member | undefined;
  for (let i = 0; i < members.length; i++) {
    const first = members[i] as Member;
    if (!isCut(first)) {
      before = first;
      continue;
    }
    while (i + 1 < members.length && isCut(members[i + 1] as Member)) i++;
    const next = members[i + 1];
    const start = next === undefined ? (before?.end ?? first.start) : first.start;
    kept += text.slice(from, start);
    from = next?.start ?? (members[i] as Member).end;
  }
  return from === 0 ? text : kept + text.slice(from);
}

/** JSON with the keys of its objects in one order; undefined where it is nested too deep to be written. */
function sortedJson(text: string): string | undefined {
  try {
    return JSON.stringify(JSON.parse(text), sortKeys);
  } catch {
    return undefined;
  }
}

/** For `JSON.stringify`: objects with their keys in one order. */
function sortKeys(_key: string, value: unknown): unknown {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
}

/**
 * Cuts members out of an object's text before anything of it is read: fields that are ours, with their
 * hundreds of numbers.
 * @param text an object that a cluster holds.
 */
export function withoutMembers(text: string, isCut: (name: string) => boolean): string {
  return cutMembers(text, membersOf(text, skipSpace(text, 0)), ({ name }) => isCut(name));
}
