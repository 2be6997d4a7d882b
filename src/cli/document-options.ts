/** Options of the commands that take documents: which of their fields mean what. */
import { type Command, Option } from "commander";
import type { SettingName } from "../config/settings.js";

/** The options' values. */
export interface DocumentFlags {
  readonly idField?: string;
  readonly textFields?: string;
  readonly htmlFields?: string;
  readonly titleField?: string;
  readonly passages?: string;
  readonly expansion?: string;
  readonly dense?: boolean;
}

/** Adds all options to a command that reads files. */
export function withDocumentOptions(command: Command): Command {
  return withTextOptions(command.option("--id-field <field>", "field of the id in files (_id)"));
}

/** Adds the options to a command whose documents have their ids. */
export function withTextOptions(command: Command): Command {
  return command
    .option("--text-fields <fields>", "fields to encode, comma-separated (title,text)")
    .option("--html-fields <fields>", "text fields that hold HTML: its text is encoded (none)")
    .option("--title-field <field>", "field shown as title (title)")
    .addOption(
      new Option("--passages <mode>", "how long documents are kept").choices([
        "merged",
        "nested",
        "documents",
      ]),
    )
    .option(
      "--expansion <factor>",
      "of the terms that the model adds to texts: none (0) to all (1); an index keeps one (all)",
    )
    .option(
      "--dense",
      "store the checkpoint's dense vector too, for mode hybrid; an index has it or not (not)",
    );
}

/** The settings they give. */
export function documentSettings(flags: DocumentFlags): Partial<Record<SettingName, unknown>> {
  return {
    "ingest.id_field": flags.idField,
    "ingest.text_fields": flags.textFields,
    "ingest.html_fields": flags.htmlFields,
    "ingest.title_field": flags.titleField,
    "ingest.passages": flags.passages,
    "document.expansion": flags.expansion,
    "document.dense": flags.dense === undefined ? undefined : String(flags.dense),
  };
}
