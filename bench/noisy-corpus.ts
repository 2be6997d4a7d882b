/**
 * A test collection with real noise: what the installed npm packages ship as text, cut into
 * passages as a crawler of documentation would, with licences, changelogs, lists of links, badges
 * and tables between the prose. The questions are section headings that occur once, the answer is
 * what stands below them (known-item search): nobody asked them, but nobody chose them either.
 *
 *   node dist/bench/noisy-corpus.js --half test --out /tmp/npm-docs
 *
 * Packages are split in two halves by the hash of their name: settings are chosen on one (`tune`)
 * and measured on the other (`test`).
 */
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../src/config/package-root.js";
import { benchFlags } from "./bench-flags.js";

const flags = benchFlags(import.meta.url, {
  half: { type: "string", default: "tune" },
  out: { type: "string" },
  passages: { type: "string", default: "2500" },
  questions: { type: "string", default: "150" },
});
if (flags.out === undefined || (flags.half !== "tune" && flags.half !== "test")) {
  console.error("usage: noisy-corpus --half tune|test --out FOLDER [--passages N] [--questions N]");
  process.exit(2);
}

/** Words of a passage, as many crawlers cut. */
const PASSAGE_WORDS = 110;

/** Most passages of one file: changelogs would drown the rest. */
const FILE_PASSAGES = 12;

interface Section {
  readonly heading: string;
  readonly passages: readonly string[];
}

/** Orders names at random, the same each time. */
function hash(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

async function textFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter(
      (entry) => entry.isFile() && /\.md$|^(licen[cs]e|notice|authors)[^/]*$/i.test(entry.name),
    )
    .map((entry) => path.join(entry.parentPath, entry.name))
    .filter((file) => !/\.(js|ts|json)$/.test(file));
}

/** Cuts a file at its headings, and what is below one into passages. */
function sectionsOf(text: string): Section[] {
  const sections: { heading: string; words: string[] }[] = [{ heading: "", words: [] }];
  let inCode = false;
  for (const line of text.split("\n")) {
    if (/^\s*(```|~~~)/.test(line)) inCode = !inCode;
    // A line such as "# install it" in a block of code is a comment.
    const heading = inCode ? undefined : /^#{1,6}\s+(.+?)\s*#*\s*$/.exec(line)?.[1];
    if (heading !== undefined) sections.push({ heading, words: [] });
    else sections.at(-1)?.words.push(...line.split(/\s+/).filter((word) => word !== ""));
  }
  return sections.flatMap(({ heading, words }) => {
    const passages: string[] = [];
    for (let at = 0; at < words.length; at += PASSAGE_WORDS) {
      passages.push(words.slice(at, at + PASSAGE_WORDS).join(" "));
    }
    return passages.length === 0 ? [] : [{ heading, passages }];
  });
}

/** Words that an answer has, tags and addresses aside: badges below a heading answer nothing. */
const ANSWER_WORDS = 8;

function isAnswer({ passages }: Section): boolean {
  const readable = passages.join(" ").replace(/<[^>]*>|\]\([^)]*\)|https?:\S+/g, " ");
  return (readable.match(/[a-z]{2,}/gi) ?? []).length >= ANSWER_WORDS;
}

/** A heading as a question; undefined if it asks nothing (versions, code, one word). */
function questionOf(heading: string): string | undefined {
  const plain = heading
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/<[^>]*>/g, " ")
    .trim();
  const words = plain.match(/[a-z]{3,}/gi) ?? [];
  if (words.length < 3 || /[`={}()\d]/.test(plain)) return undefined;
  return plain;
}

const files = (await textFiles(path.join(packageRoot, "node_modules")))
  .map((file) => ({ file, name: path.relative(path.join(packageRoot, "node_modules"), file) }))
  .filter(({ name }) => {
    const [first = "", second = ""] = name.split(path.sep);
    const owner = first.startsWith("@") ? `${first}/${second}` : first;
    return Number.parseInt(hash(owner).slice(0, 2), 16) % 2 === (flags.half === "tune" ? 0 : 1);
  })
  .sort((a, b) => (hash(a.name) < hash(b.name) ? -1 : 1));

const corpus: { _id: string; title: string; text: string }[] = [];
const headings = new Map<string, string[][]>();
for (const { file, name } of files) {
  let left = FILE_PASSAGES;
  for (const section of sectionsOf(await readFile(file, "utf8"))) {
    const { heading, passages } = section;
    const ids = passages.slice(0, left).map((text) => {
      const _id = `${name.replace(/\s/g, "_")}:${FILE_PASSAGES - left--}`;
      corpus.push({ _id, title: "", text });
      return _id;
    });
    const question = isAnswer(section) ? questionOf(heading) : undefined;
    if (question !== undefined && ids.length > 0) {
      const key = question.toLowerCase();
      headings.set(key, [...(headings.get(key) ?? []), [question, ...ids]]);
    }
    if (left === 0) break;
  }
  if (corpus.length >= Number(flags.passages)) break;
}
const questions = [...headings.values()]
  .flatMap((found) => (found.length === 1 ? found : []))
  .sort(([a = ""], [b = ""]) => (hash(a) < hash(b) ? -1 : 1))
  .slice(0, Number(flags.questions))
  .map(([text = "", ...ids], i) => ({ _id: `h${i}`, text, ids }));

await mkdir(path.join(flags.out, "qrels"), { recursive: true });
const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
await writeFile(path.join(flags.out, "corpus.jsonl"), lines(corpus));
await writeFile(
  path.join(flags.out, "queries.jsonl"),
  lines(questions.map(({ _id, text }) => ({ _id, text }))),
);
await writeFile(
  path.join(flags.out, "qrels", "test.tsv"),
  `query-id\tcorpus-id\tscore\n${questions
    .flatMap(({ _id, ids }) => ids.map((id) => `${_id}\t${id}\t1\n`))
    .join("")}`,
);
console.log(`${corpus.length} passages of ${files.length} files, ${questions.length} questions`);
