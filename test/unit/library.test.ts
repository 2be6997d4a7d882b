import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import ts from "typescript";
import * as library from "csplade";
import { packageRoot } from "../../src/config/package-root.js";

const read = (...parts: string[]): string => readFileSync(path.join(packageRoot, ...parts), "utf8");

describe("the library's documentation", () => {
  const page = read("docs", "library.md");
  const exported = new Set(Object.keys(library));
  const types = new Set(
    ts
      .createSourceFile("library.ts", read("src", "library.ts"), ts.ScriptTarget.Latest)
      .statements.filter(ts.isExportDeclaration)
      .flatMap(({ exportClause, isTypeOnly }) =>
        exportClause !== undefined && ts.isNamedExports(exportClause)
          ? exportClause.elements.filter((each) => isTypeOnly || each.isTypeOnly)
          : [],
      )
      .map(({ name }) => name.text),
  );

  it("names only what is there, where it says what to take", () => {
    const rows = page.split("\n").filter((line) => line.startsWith("| "));
    const table = rows.filter((line) => !line.includes("../examples/"));
    const names = table
      .map((line) => line.split("|")[2] ?? "")
      .flatMap((cell) => [...cell.matchAll(/`([a-z]\w+)[^`]*`/gi)].map((found) => found[1]!))
      .filter((name) => name !== "encoder"); // what openEncoder gives
    assert.ok(names.length >= 8, names.join());
    for (const name of names) assert.ok(exported.has(name), `${name} is not exported`);
  });

  it("imports only what is exported, and calls searcher methods that there are", () => {
    const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map((found) => found[1]!);
    const examples = readdirSync(path.join(packageRoot, "examples")).map((file) =>
      read("examples", file),
    );
    assert.ok(blocks.length > 0 && examples.length > 2);
    for (const code of [...blocks, ...examples]) {
      const source = ts.createSourceFile("x.ts", code, ts.ScriptTarget.Latest);
      const imports = source.statements.filter(ts.isImportDeclaration);
      const ours = imports.filter(
        ({ moduleSpecifier }) => (moduleSpecifier as ts.StringLiteral).text === "csplade",
      );
      assert.equal(ours.length, 1, code);
      const named = ours[0]!.importClause?.namedBindings;
      assert.ok(named !== undefined && ts.isNamedImports(named));
      for (const { name, isTypeOnly } of named.elements) {
        const there = isTypeOnly ? types.has(name.text) : exported.has(name.text);
        assert.ok(there, `${name.text} is not exported`);
      }
    }
    const methods = [...page.matchAll(/`(openSearcher|encoder)(?:\(…\))?\.(\w+)`/g)];
    assert.ok(methods.length >= 4);
    const declared = read("src", "searcher", "searcher.ts") + read("src", "encoder", "encoder.ts");
    for (const [, , method] of methods) assert.match(declared, new RegExp(`^  ${method!}\\(`, "m"));
  });

  it("explains every exported value where it is declared", () => {
    const program = ts.createProgram([path.join(packageRoot, "src", "library.ts")], {
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      target: ts.ScriptTarget.ES2023,
      noLib: true,
      types: [],
      resolveJsonModule: true,
    });
    const checker = program.getTypeChecker();
    const file = program.getSourceFile(path.join(packageRoot, "src", "library.ts"))!;
    const symbols = checker.getExportsOfModule(checker.getSymbolAtLocation(file)!);
    assert.ok(symbols.length > exported.size, "types are exported, too");
    for (const symbol of symbols) {
      const target =
        (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
      const text = ts.displayPartsToString(target.getDocumentationComment(checker));
      assert.ok(text.length > 0, `${symbol.name} has no docstring`);
    }
  });

  it("lists the examples that there are", () => {
    for (const file of readdirSync(path.join(packageRoot, "examples"))) {
      assert.ok(page.includes(`(../examples/${file})`), file);
    }
  });
});
