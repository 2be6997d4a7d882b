/**
 * Where things stand in JSON text, so that it can be cut and added to without being rebuilt. Nothing
 * here makes a value of it: a number stays the digits that somebody wrote. The text must be valid
 * (`JSON.parse`, or a cluster, has taken it); comments and a byte order mark, which clusters take too,
 * count as white space.
 */

/** A member of an object. */
export interface Member {
  readonly name: string;
  /** Offset of the name's quote. */
  readonly start: number;
  /** Offset of the value. */
  readonly value: number;
  /** Offset after the value. */
  readonly end: number;
}

/** A stretch of text; `end` is exclusive. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const SLASH = 0x2f;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;

/** Offset of the next token at or after `at`. */
export function skipSpace(text: string, at: number): number {
  let i = at;
  for (; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x20 || (c >= 0x09 && c <= 0x0d) || c === 0xfeff) continue;
    if (c !== SLASH) break;
    i = endOfComment(text, i) - 1;
  }
  return i;
}

function endOfComment(text: string, at: number): number {
  const isLine = text.charCodeAt(at + 1) === SLASH;
  const end = text.indexOf(isLine ? "\n" : "*/", at + 2);
  if (end < 0) return text.length;
  return isLine ? end + 1 : end + 2;
}

/** Offset after the string whose quote stands at `at`. */
function endOfString(text: string, at: number): number {
  for (let from = at + 1; ;) {
    const quote = text.indexOf('"', from);
    if (quote < 0) return text.length;
    let slashes = quote;
    while (text.charCodeAt(slashes - 1) === BACKSLASH) slashes--;
    // An even number of them escape each other and not the quote.
    if ((quote - slashes) % 2 === 0) return quote + 1;
    from = quote + 1;
  }
}

/** Offset after a number, `true`, `false` or `null`. */
function endOfWord(text: string, at: number): number {
  let i = at + 1;
  for (; i < text.length; i++) {
    const c = text.charCodeAt(i);
    // Digits, letters, plus, minus and the point; nothing else can follow one directly.
    const within = (c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x7a) || c === 0x2e || c === 0x45;
    if (!within && c !== 0x2b && c !== 0x2d) break;
  }
  return i;
}

/** Offset after the value that begins at `at`, however deep it is. */
export function endOfValue(text: string, at: number): number {
  const first = text.charCodeAt(at);
  if (first === QUOTE) return endOfString(text, at);
  if (first !== OPEN_OBJECT && first !== OPEN_ARRAY) return endOfWord(text, at);
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE:
        i = endOfString(text, i) - 1;
        break;
      case SLASH:
        i = endOfComment(text, i) - 1;
        break;
      case OPEN_OBJECT:
      case OPEN_ARRAY:
        depth += 1;
        break;
      case CLOSE_OBJECT:
      case CLOSE_ARRAY:
        depth -= 1;
        if (depth === 0) return i + 1;
    }
  }
  return text.length;
}

/** The string at `at`, which ends before `end`. */
function stringAt(text: string, at: number, end: number): string {
  const inner = text.slice(at + 1, end - 1);
  return inner.includes("\\") ? (JSON.parse(text.slice(at, end)) as string) : inner;
}

/** The members of the object at `at`, in their order; none for anything else. */
export function membersOf(text: string, at: number): Member[] {
  const members: Member[] = [];
  if (text.charCodeAt(at) !== OPEN_OBJECT) return members;
  for (let i = skipSpace(text, at + 1); text.charCodeAt(i) === QUOTE;) {
    const start = i;
    const nameEnd = endOfString(text, start);
    const name = stringAt(text, start, nameEnd);
    const value = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = endOfValue(text, value);
    members.push({ name, start, value, end });
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === COMMA) i = skipSpace(text, i + 1);
  }
  return members;
}

/** The items of the array at `at`, in their order; none for anything else. */
export function itemsOf(text: string, at: number): Span[] {
  const items: Span[] = [];
  if (text.charCodeAt(at) !== OPEN_ARRAY) return items;
  for (let i = skipSpace(text, at + 1); i < text.length && text.charCodeAt(i) !== CLOSE_ARRAY;) {
    const end = endOfValue(text, i);
    items.push({ start: i, end });
    i = skipSpace(text, end);
    if (text.charCodeAt(i) === COMMA) i = skipSpace(text, i + 1);
  }
  return items;
}

/** Offset of the value of an object's member; what stands behind it is not looked at. */
export function valueOf(text: string, at: number, name: string): number | undefined {
  if (text.charCodeAt(at) !== OPEN_OBJECT) return undefined;
  for (let i = skipSpace(text, at + 1); text.charCodeAt(i) === QUOTE;) {
    const nameEnd = endOfString(text, i);
    const value = skipSpace(text, skipSpace(text, nameEnd) + 1);
    if (stringAt(text, i, nameEnd) === name) return value;
    i = skipSpace(text, endOfValue(text, value));
    if (text.charCodeAt(i) === COMMA) i = skipSpace(text, i + 1);
  }
  return undefined;
}

/** What one look at every token of an object finds. */
export interface Inspection {
  /** The object's own members. */
  readonly members: readonly Member[];
  /** A name that stands twice in one object, at any depth. */
  readonly duplicate: string | undefined;
  /** Numbers, at any depth, that JavaScript would write otherwise: `1.0`, `1e3`, 9007199254740993. */
  readonly unusual: readonly Span[];
}

/** Names of one object; a few are compared faster one by one. */
class Names {
  readonly #few: string[] = [];
  #many: Set<string> | undefined;

  /** @returns false if the name was there. */
  add(name: string): boolean {
    if (this.#many !== undefined) {
      const before = this.#many.size;
      return this.#many.add(name).size > before;
    }
    if (this.#few.includes(name)) return false;
    this.#few.push(name);
    if (this.#few.length > 16) this.#many = new Set(this.#few);
    return true;
  }
}

/** Looks at every token of the object that `text` is. */
export function inspect(text: string): Inspection {
  const members: Member[] = [];
  const unusual: Span[] = [];
  let duplicate: string | undefined;
  /** The objects around, by their names, and arrays. */
  const around: (Names | undefined)[] = [];
  let names: Names | undefined;
  let isName = false;
  let member: { name: string; start: number; value: number } | undefined;
  /** Offset after the last token of a value. */
  let end = 0;
  const close = () => {
    if (around.length === 1 && member !== undefined) {
      members.push({ ...member, end });
      member = undefined;
    }
  };
  for (let i = skipSpace(text, 0); i < text.length; i = skipSpace(text, i)) {
    const c = text.charCodeAt(i);
    if (c === COLON) {
      i = skipSpace(text, i + 1);
      if (around.length === 1 && member !== undefined) member.value = i;
      continue;
    }
    if (c === COMMA) {
      close();
      isName = names !== undefined;
      i += 1;
      continue;
    }
    if (c === OPEN_OBJECT || c === OPEN_ARRAY) {
      names = c === OPEN_OBJECT ? new Names() : undefined;
      isName = names !== undefined;
      around.push(names);
      i += 1;
      continue;
    }
    if (c === CLOSE_OBJECT || c === CLOSE_ARRAY) {
      close();
      around.pop();
      names = around.at(-1);
      isName = false;
      i += 1;
    } else if (c === QUOTE) {
      const start = i;
      i = endOfString(text, i);
      if (isName && names !== undefined) {
        const name = stringAt(text, start, i);
        if (!names.add(name)) duplicate ??= name;
        if (around.length === 1) member = { name, start, value: i };
        isName = false;
        continue;
      }
    } else {
      const start = i;
      i = endOfWord(text, i);
      if (isUnusual(text, start, i)) unusual.push({ start, end: i });
    }
    end = i;
  }
  return { members, duplicate, unusual };
}

/** Whether a word is a number that JavaScript would write otherwise. */
function isUnusual(text: string, start: number, end: number): boolean {
  const first = text.charCodeAt(start);
  if (first > 0x39) return false;
  if (end - start <= 15) {
    let i = start;
    while (i < end && text.charCodeAt(i) >= 0x30 && text.charCodeAt(i) <= 0x39) i++;
    if (i === end) return false;
  }
  const spelled = text.slice(start, end);
  return String(Number(spelled)) !== spelled;
}

/** Text without comments and byte order marks. */
export function withoutComments(text: string): string {
  const kept: string[] = [];
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      i = endOfString(text, i) - 1;
    } else if (c === SLASH || c === 0xfeff) {
      const end = c === SLASH ? endOfComment(text, i) : i + 1;
      kept.push(text.slice(from, i), " ");
      from = end;
      i = end - 1;
    }
  }
  return from === 0 ? text : kept.join("") + text.slice(from);
}
