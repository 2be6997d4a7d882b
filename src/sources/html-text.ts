/** What a reader of an HTML page would read: its title and its text, without scripts, styles and markup. */
import { Parser } from "htmlparser2";

/** The words of a page. */
export interface PageText {
  /** Of `title`, or of the first `h1`; undefined if there is neither. */
  readonly title: string | undefined;
  /** A line per block; white space within it is one blank. */
  readonly text: string;
}

/** Elements whose content nobody reads as text. */
const UNREAD = new Set(["script", "style", "template", "noscript", "svg", "iframe", "object"]);

/** Elements within a line; all others begin a new one. */
const INLINE = new Set(
  (
    "a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark q s samp small " +
    "span strike strong sub sup time tt u var wbr"
  ).split(" "),
);

/** Reads a page, or a piece of one. Never throws: HTML has no errors. */
export function readHtml(html: string): PageText {
  let text = "";
  let title = "";
  let heading = "";
  let unread = 0;
  let isHeadingOver = false;
  const open: string[] = [];
  const parser = new Parser({
    onopentag(name) {
      open.push(name);
      if (UNREAD.has(name)) unread += 1;
      if (!INLINE.has(name)) text += "\n";
    },
    ontext(data) {
      if (unread > 0) return;
      if (open.includes("title")) {
        title += data;
        return;
      }
      if (!isHeadingOver && open.includes("h1")) heading += data;
      text += data.replaceAll("\n", " ");
    },
    onclosetag(name) {
      open.pop();
      if (UNREAD.has(name)) unread -= 1;
      if (name === "h1") isHeadingOver ||= heading.trim() !== "";
      if (!INLINE.has(name)) text += "\n";
    },
  });
  parser.end(html);
  const named = [title, heading].map(inOneLine).find((each) => each !== "");
  const lines = text.split("\n").map(inOneLine);
  return { title: named, text: lines.filter((line) => line !== "").join("\n") };
}

function inOneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
