import assert from "node:assert/strict";
import path from "node:path";
import fc from "fast-check";
import { packageRoot } from "../../../src/config/package-root.js";
import { foreignTexts, type IsForeign } from "../../../src/text/foreign-text.js";
import { readLexicon } from "../../../src/text/lexicon.js";

const lexicon = readLexicon(
  path.join(packageRoot, "models", "csplade-smollm2-135m-prompt", "lexicon.json"),
);

describe("texts in a language that a model does not know", () => {
  let isForeign: IsForeign;
  before(async () => {
    isForeign = await foreignTexts({ languages: ["en"], lexicon });
  });

  it("are told by their script, however short", () => {
    for (const text of [
      "仕事",
      "領収書",
      "パスワード 再設定",
      "Пароль",
      "كلمة",
      "systemd の設定ファイル",
    ]) {
      assert.ok(isForeign(text), text);
    }
  });

  it("are told by their words, questions too", () => {
    for (const text of [
      "Verzeichnisinhalte auflisten",
      "Steuererklärung 2023 Frist",
      "Wie kündige ich mein Abonnement?",
      "mot de passe oublié",
      "Afficher les lignes correspondant à un motif donné",
      "el contenido de un directorio",
      "spostare e rinominare i file di una directory in altre directory",
    ]) {
      assert.ok(isForeign(text), text);
    }
  });

  it("are not told where there is doubt: names, codes, single words, blanks", () => {
    for (const text of [
      "",
      "  \n",
      "42",
      "µ",
      "pizza",
      "pneumonia",
      "Rechnung",
      "ORA-00942",
      "kubernetes ingress controller",
      "san francisco hotels",
      "diabetes mellitus type 2",
      "blast furnace",
      "SELECT * FROM users",
      "the α and β of γ",
      "a restaurant called Zum Goldenen Hirschen",
    ]) {
      assert.ok(!isForeign(text), text);
    }
  });

  it("are never of words that all stand in the lexicon", () => {
    const words = fc.array(fc.constantFrom(...[...lexicon.stop_words]), { minLength: 1 });
    fc.assert(fc.property(words, (some) => !isForeign(some.join(" "))));
  });

  it("get an answer for any text, and what is behind the first thousand characters changes none", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
        const whole = text.padEnd(1_000, " ");
        assert.equal(isForeign(whole), isForeign(`${whole}Verzeichnisinhalte auflisten`));
      }),
    );
  });

  it("depend on which languages the model knows", async () => {
    const german = await foreignTexts({ languages: ["de", "ja"], lexicon });
    assert.ok(!german("Verzeichnisinhalte auflisten, die mit einem Punkt beginnen"));
    assert.ok(!german("ディレクトリの内容をリスト表示する"));
    assert.ok(german("Afficher les lignes correspondant à un motif donné"));
  });

  it("are told by script alone where the detector does not know the model's language", async () => {
    const esperanto = await foreignTexts({ languages: ["eo"], lexicon });
    assert.ok(!esperanto("Verzeichnisinhalte auflisten, die mit einem Punkt beginnen"));
    assert.ok(esperanto("ディレクトリの内容"));
  });
});
