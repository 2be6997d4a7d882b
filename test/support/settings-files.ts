/** The files that are made from the settings table: a page of the docs, and a schema for editors. */
import { format } from "prettier";
import { settingRows, settingsSchema } from "../../src/config/settings-table.js";

/** Path in the package, and content. */
export async function settingsFiles(): Promise<[file: string, content: string][]> {
  const schema = JSON.stringify(settingsSchema());
  return [
    ["docs/settings.md", await format(settingsPage(), { parser: "markdown" })],
    ["docs/csplade.schema.json", await format(schema, { parser: "json", printWidth: 100 })],
  ];
}

const INTRODUCTION = `# Settings

Made from \`src/config/settings.ts\` by \`npm run settings\`; a test compares them.

A setting comes from, the later one wins: its default, \`csplade.yaml\` in the working directory (or the file
that \`--config\` or \`CSPLADE_CONFIG\` names; names are nested by their dots), its environment variable, a
flag. \`csplade doctor\` prints each with its value and where that came from. Editors complete and check the file
with [csplade.schema.json](csplade.schema.json):

\`\`\`yaml
# yaml-language-server: $schema=node_modules/csplade/docs/csplade.schema.json
ingest:
  text_fields: [title, body]
\`\`\`

| name | environment variable | default | values | meaning |
| --- | --- | --- | --- | --- |
`;

function settingsPage(): string {
  const rows = settingRows().map(({ name, env, default: fallback, values, help }) => {
    const cells = [`\`${name}\``, `\`${env}\``, code(fallback), values, help];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return `${INTRODUCTION}${rows.join("\n")}\n`;
}

function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}
