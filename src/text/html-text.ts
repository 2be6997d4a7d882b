/** What a reader of HTML would read: a page's title and its text, without scripts, styles and markup. */
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
  const { title, heading, text } = wordsOf(html);
  return { title: [title, heading].find((each) => each !== ""), text };
}

/** All words of a page, or of a piece of one; a `title`, which is no part of a page's text, comes first. Never throws. */
export function htmlText(html: string): string {
  const { title, text } = wordsOf(html);
  return [title, text].filter((each) => each !== "").join("\n");
}

/**
 * HTML of the same length in which all but its text is blank, so that a place in it is a place in the
 * HTML: for those who look for words. Characters written as entities are blank, too. Never throws.
 */
export function readableHtml(html: string): string {
  const shown = new Array<string>(html.length).fill(" ");
  let unread = 0;
  const count = (name: string, by: 1 | -1) => {
    if (UNREAD.has(name)) unread += by;
  };
  const parser = new Parser({
    onopentag: (name) => {
      count(name, 1);
    },
    ontext(data) {
      const { startIndex } = parser;
      if (unread > 0 || !html.startsWith(data, startIndex)) return;
      for (let i = 0; i < data.length; i++) shown[startIndex + i] = data.charAt(i);
    },
    onclosetag: (name) => {
      count(name, -1);
    },
  });
  parser.end(html);
  return shown.join("");
}

/** What `title`, the first `h1` with a word in it and the rest hold; empty where there is none. */
function wordsOf(html: string): { title: string; heading: string; text: string } {
  let text = "";
  let title = "";
  let heading = "";
  let isHeadingOver = false;
  // Counted, for each word would have to look through all elements that are open around it.
  let unread = 0;
  let titles = 0;
  let headings = 0;
  const count = (name: string, by: 1 | -1) => {
    if (UNREAD.has(name)) unread += by;
    if (name === "title") titles += by;
    if (name === "h1") headings += by;
  };
  const parser = new Parser({
    onopentag(name) {
      count(name, 1);
      if (!INLINE.has(name)) text += "\n";
    },
    ontext(data) {
      if (unread > 0) return;
      if (titles > 0) {
        title += data;
        return;
      }
      if (!isHeadingOver && headings > 0) heading += data;
      text += data.replaceAll("\n", " ");
    },
    onclosetag(name) {
      count(name, -1);
      if (name === "h1") isHeadingOver ||= heading.trim() !== "";
      if (!INLINE.has(name)) text += "\n";
    },
  });
  parser.end(html);
  const lines = text.split("\n").map(inOneLine);
  return {
    title: inOneLine(title),
    heading: inOneLine(heading),
    text: lines.filter((line) => line !== "").join("\n"),
  };
}

function inOneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ").trim();
}
