/** `_bulk` bodies, as `POST /_bulk` takes them: an action line, and the document in the next one. */
import { CspladeError } from "../errors/csplade-error.js";
import { membersOf, skipSpace } from "../json/positions.js";
import { tooLarge, type FoundDocument } from "./found-document.js";
import { namedText } from "./hit-line.js";
import { isBlank, linesOf, type Line } from "./lines.js";

interface Action {
  readonly line: number;
  readonly id?: string;
  readonly routing?: string;
}

/**
 * Yields the documents of `index` and `create` actions with their ids and routing.
 * @throws CspladeError `source_unsupported` at an action that ingesting cannot do as the cluster
 *   would: `delete`, `update`, or one with a pipeline or a version; `source_unreadable` where a line
 *   is no action.
 */
export async function* bulkDocuments(
  stream: AsyncIterable<Buffer>,
  maxBytes: number,
): AsyncGenerator<FoundDocument> {
  let action: Action | undefined;
  for await (const line of linesOf(stream, maxBytes)) {
    if (action === undefined) {
      if (line.content === undefined || !isBlank(line.content)) action = actionOf(line);
      continue;
    }
    const { id, routing } = action;
    const named = {
      line: line.number,
      ...(id === undefined ? {} : { id }),
      ...(routing === undefined ? {} : { routing }),
    };
    action = undefined;
    if (line.content !== undefined) yield { ...named, content: line.content };
    else yield { ...named, content: Buffer.alloc(0), fault: tooLarge(line.bytes, maxBytes) };
  }
  if (action !== undefined) {
    throw new CspladeError(
      "source_unreadable",
      `The file ends after the action in line ${action.line}, without its document.`,
      { hint: "It may be cut off; compare its size with where it came from." },
    );
  }
}

const ACTIONS = ["index", "create", "update", "delete"];

/** What an action may say and ingesting does: where the document goes is the command's to say. */
const TAKEN = new Set([
  "_index",
  "_type",
  "_id",
  "routing",
  "_routing",
  "require_alias",
  "op_type",
]);

function actionOf(line: Line): Action {
  const text = line.content?.toString("utf8") ?? "";
  const members = isJson(text) ? membersOf(text, skipSpace(text, 0)) : [];
  const [action, ...others] = members;
  const name = action?.name ?? "";
  if (action === undefined || others.length > 0 || !ACTIONS.includes(name)) {
    throw new CspladeError(
      "source_unreadable",
      `Line ${line.number} is no action of a _bulk body.`,
      {
        hint: "An action line comes before each document; for documents alone add --format ndjson.",
      },
    );
  }
  if (name === "delete" || name === "update") {
    throw new CspladeError(
      "source_unsupported",
      `Line ${line.number} is a ${name} action; ingesting takes index and create only.`,
      {
        hint:
          "Send the body to a plain index and let csplade reindex --follow keep the search index, " +
          "or take those actions out.",
      },
    );
  }
  const about = new Map(
    membersOf(text, action.value).map(({ name, value, end }) => [name, text.slice(value, end)]),
  );
  const odd = [...about.keys()].find((key) => !TAKEN.has(key));
  if (odd !== undefined) {
    throw new CspladeError(
      "source_unsupported",
      `The action in line ${line.number} asks for ${odd}, which ingesting cannot do.`,
      { hint: `Take ${odd} out of the file, or send it to a plain index and reindex that.` },
    );
  }
  const id = namedText(about.get("_id"));
  const routing = namedText(about.get("routing") ?? about.get("_routing"));
  return {
    line: line.number,
    ...(id === undefined ? {} : { id }),
    ...(routing === undefined ? {} : { routing }),
  };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
