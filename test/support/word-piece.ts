/** A small tokenizer of the BERT family: no checkpoint of the tests has one. */
import type { TokenizerFile } from "../../src/text/tokenizer.js";

/** By id. */
export const WORD_PIECES: readonly string[] = [
  ...["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
  ...["the", "cafe", "dead", "lock", "##lock", "##s", "un", "##affable", "naive", "uber"],
  ...["deadlock", "deadlocks", "running", "ran", "word", "##words", "in", "don", "t"],
  ...["日", "本", "##本", "𠀀", "##𠀀", "!", ",", "'", "[", "]", "-", "$", "1", "##2", "ﬁ", "½"],
  ...["a", "##a", "b", "##b", "i", "k", "x", "##x", "σ", "##α", "##σ", "##ς", "ss", "ß"],
  ...["ᄒ", "##ᅡ", "##ᆫ", "😀", "##😀", "👩", "##🚀", "##", "·", "##·", "#", "###"],
];

/** Its `tokenizer.json`: as all-MiniLM-L6-v2's is without its post-processor, truncation and padding. */
export const wordPieceFile = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map((content) => ({
    id: WORD_PIECES.indexOf(content),
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  })),
  normalizer: {
    type: "BertNormalizer",
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true,
  },
  pre_tokenizer: { type: "BertPreTokenizer" },
  post_processor: null,
  decoder: { type: "WordPiece", prefix: "##", cleanup: true },
  model: {
    type: "WordPiece",
    unk_token: "[UNK]",
    continuing_subword_prefix: "##",
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(WORD_PIECES.map((piece, id) => [piece, id])),
  },
} satisfies TokenizerFile;
