/** A folder of Markdown, HTML and text files: a file is a document, its path within the folder the id. */
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { parseDocument } from "yaml";
import { tooLarge, type FoundDocument } from "./found-document.js";
import { readHtml } from "../text/html-text.js";

type Kind = "markdown" | "html" | "text";

const KINDS: Readonly<Record<string, Kind>> = {
  ".md": "markdown",
  ".markdown": "markdown",
  ".html": "html",
  ".htm": "html",
  ".txt": "text",
};

/** What a file of the folder holds: the members of its document besides `path`. */
type Page = Readonly<Record<string, unknown>>;

/** Why a file is no document. */
class Unreadable extends Error {}

/** True if a folder holds files of these kinds, at any depth. */
export async function hasPages(folder: string): Promise<boolean> {
  for await (const _ of pagesOf(folder, "")) return true;
  return false;
}

/**
 * Yields `{"title":…,"text":…,"path":…}` per file, in the order of the paths; fields of a Markdown
 * file's front matter come along. Hidden files and folders, links and files of other kinds are passed over.
 */
export async function* folderDocuments(
  folder: string,
  maxBytes: number,
): AsyncGenerator<FoundDocument> {
  let line = 0;
  for await (const id of pagesOf(folder, "")) {
    line += 1;
    yield { line, id, ...(await pageDocument(folder, id, maxBytes)) };
  }
}

/** Paths of the files, with `/` on every system. */
async function* pagesOf(folder: string, within: string): AsyncGenerator<string> {
  const entries = await readdir(path.join(folder, within), { withFileTypes: true });
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) {
    if (entry.name.startsWith(".")) continue;
    const name = within === "" ? entry.name : `${within}/${entry.name}`;
    if (entry.isDirectory()) yield* pagesOf(folder, name);
    else if (entry.isFile() && kindOf(name) !== undefined) yield name;
  }
}

function kindOf(name: string): Kind | undefined {
  return KINDS[path.extname(name).toLowerCase()];
}

async function pageDocument(
  folder: string,
  id: string,
  maxBytes: number,
): Promise<Pick<FoundDocument, "content" | "fault">> {
  const file = path.join(folder, id);
  const { size } = await stat(file);
  const nothing = Buffer.alloc(0);
  if (size > maxBytes) return { content: nothing, fault: tooLarge(size, maxBytes) };
  try {
    const { title, ...page } = pageOf(decoded(await readFile(file)), kindOf(id));
    const named = title ?? path.basename(id, path.extname(id));
    const content = Buffer.from(JSON.stringify({ title: named, ...page, path: id }));
    if (content.length <= maxBytes) return { content };
    return { content: nothing, fault: tooLarge(content.length, maxBytes) };
  } catch (thrown) {
    if (!(thrown instanceof Unreadable)) throw thrown;
    const reason = `The file ${id} ${thrown.message}.`;
    return { content: nothing, fault: { code: "document_malformed", reason } };
  }
}

/** Text without a byte order mark. */
function decoded(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Unreadable("is not valid UTF-8");
  }
}

function pageOf(content: string, kind: Kind | undefined): Page {
  if (kind === "html") return { ...readHtml(content) };
  if (kind === "text") return { title: undefined, text: content };
  const { matter, body } = frontMatter(content);
  return { title: headingOf(body), ...matter, text: body };
}

/** The YAML between two lines of `---` at the beginning, and what comes after it. */
function frontMatter(content: string): { readonly matter: Page; readonly body: string } {
  const found = /^---[ \t]*\r?\n(?:(.*?)\r?\n)?(?:---|\.\.\.)[ \t]*(?:\r?\n|$)/s.exec(content);
  if (found === null) return { matter: {}, body: content };
  const yaml = parseDocument(found[1] ?? "", { prettyErrors: false });
  const [fault] = yaml.errors;
  if (fault !== undefined) throw new Unreadable(`begins with no valid YAML (${fault.code})`);
  let matter: unknown;
  try {
    matter = yaml.toJS({ maxAliasCount: 100 });
  } catch {
    throw new Unreadable("begins with YAML that refers to itself too often");
  }
  // Two lines of a rule, and no fields between them.
  if (matter === null || typeof matter !== "object" || Array.isArray(matter)) {
    return { matter: {}, body: matter === null ? content.slice(found[0].length) : content };
  }
  return { matter: { ...matter }, body: content.slice(found[0].length) };
}

/** The first heading outside of code: `# …`, or a line underlined with `===`. */
function headingOf(markdown: string): string | undefined {
  let fence: string | undefined;
  let before = "";
  for (const line of markdown.split(/\r?\n/)) {
    const mark = /^ {0,3}(```+|~~~+)/.exec(line)?.[1];
    if (fence !== undefined) {
      if (mark?.startsWith(fence) === true) fence = undefined;
      continue;
    }
    fence = mark;
    const heading = /^ {0,3}#{1,6}[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$/.exec(line)?.[1];
    if (heading !== undefined && heading !== "") return heading;
    if (/^ {0,3}=+[ \t]*$/.test(line) && before.trim() !== "") return before.trim();
    before = line;
  }
  return undefined;
}
