/**
 * Reads Logstash's configuration language as its reference describes it: sections of plugins and
 * conditions; plugins of options; options of words, strings, numbers, arrays and hashes.
 */

/** A plugin as it is configured. */
export interface LogstashPlugin {
  readonly section: "input" | "filter" | "output";
  readonly name: string;
  readonly options: ReadonlyMap<string, LogstashValue>;
}

/** An option's value. */
export type LogstashValue =
  string | number | readonly LogstashValue[] | ReadonlyMap<string, LogstashValue>;

/** Tokens: comments, strings, the arrow, braces, field references, numbers, words. */
const TOKEN =
  /\s+|#[^\n]*|("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|=>|[{}[\],()]|[!=<>]=|=~|!~|[<>!]|-?\d+(?:\.\d+)?|[\w@-]+)/gy;

/** Parses a whole file. @throws Error naming the place of what does not belong there. */
export function parseLogstash(text: string): LogstashPlugin[] {
  const tokens = tokensOf(text);
  let at = 0;
  const plugins: LogstashPlugin[] = [];
  const peek = () => tokens[at] ?? "the end";
  const fail = (wanted: string): never => {
    throw new Error(`Logstash configuration, token ${at}: ${peek()} where ${wanted} belongs`);
  };
  const take = (wanted: RegExp, name: string): string => {
    if (!wanted.test(peek())) fail(name);
    return tokens[at++] ?? "";
  };
  const value = (): LogstashValue => {
    if (peek() === "[") {
      at++;
      const items: LogstashValue[] = [];
      while (peek() !== "]") {
        items.push(value());
        if (peek() !== "]") take(/^,$/, "a comma");
      }
      at++;
      return items;
    }
    if (peek() === "{") return hash();
    const token = take(/^(["'].*["']|-?\d[\d.]*|[A-Za-z_]\w*)$/s, "a value");
    if (/^["']/.test(token)) return token.slice(1, -1);
    return /^-?\d/.test(token) ? Number(token) : token;
  };
  const hash = (): ReadonlyMap<string, LogstashValue> => {
    take(/^\{$/, "{");
    const entries = new Map<string, LogstashValue>();
    while (peek() !== "}") {
      const key = take(/^(["'].*["']|[\w@-]+)$/s, "a name").replace(/^["']|["']$/g, "");
      take(/^=>$/, "=>");
      if (entries.has(key)) fail(`another name than ${key}`);
      entries.set(key, value());
    }
    at++;
    return entries;
  };
  const block = (section: LogstashPlugin["section"]): void => {
    take(/^\{$/, "{");
    while (peek() !== "}") {
      const name = take(/^[a-z]\w*$/, "a plugin or a condition");
      if (name === "if" || name === "else") {
        while (peek() !== "{") {
          if (at >= tokens.length) fail("{");
          at++;
        }
        block(section);
      } else plugins.push({ section, name, options: hash() });
    }
    at++;
  };
  while (at < tokens.length) {
    block(take(/^(input|filter|output)$/, "input, filter or output") as LogstashPlugin["section"]);
  }
  return plugins;
}

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < text.length) {
    const from = TOKEN.lastIndex;
    const match = TOKEN.exec(text);
    if (match === null) throw new Error(`Logstash configuration: ${text.slice(from, from + 40)}`);
    if (match[1] !== undefined) tokens.push(match[1]);
  }
  return tokens;
}
