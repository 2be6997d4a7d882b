/**
 * The library: what `import { … } from "csplade"` gives (docs/library.md). Anything else in this
 * package may change without notice.
 */
export {
  clusterOf,
  type ClientOptions,
  type Cluster,
  type OfficialClient,
} from "./cluster/client-cluster.js";
export { connectCluster } from "./cluster/cluster.js";
export type { Capabilities } from "./cluster/capabilities.js";
export { loadConfig } from "./config/load-config.js";
export type { Config, SettingName } from "./config/settings.js";
export { openEncoder, type Encoder } from "./encoder/encoder.js";
export type { EncodedPassage, EncodedText } from "./encoder/encoder-protocol.js";
export { CspladeError, type ErrorCode } from "./errors/csplade-error.js";
export {
  ensureIndex,
  readIndexModel,
  refreshIndex,
  type IndexInfo,
} from "./index/csplade-index.js";
export { makeAnnIndex, type AnnIndexRequest, type AnnIndexSummary } from "./index/ann-index.js";
export { bulkWriterOptions, createBulkWriter } from "./cluster/bulk-writer.js";
export { demandSameModel, type IndexModel } from "./index/index-meta.js";
export { indexModelOf } from "./documents/index-model.js";
export {
  nameTerms,
  readExplanation,
  type Contribution,
  type ExplainedTerm,
} from "./query/explanation.js";
export {
  createCorpusIdf,
  type CorpusIdf,
  type CorpusIdfOptions,
  type IdfTarget,
  type WeighedVector,
  type WordedVector,
} from "./query/corpus-idf.js";
export type { AnnField, AnnOptions } from "./query/ann.js";
export type { HybridOptions } from "./query/hybrid.js";
export type { LexicalOptions } from "./query/lexical.js";
export { literalSpans, type LiteralSpan } from "./query/literal-spans.js";
export type { QueryClause } from "./query/query-clause.js";
export { chooseDialect, type QueryDialect } from "./query/query-dialect.js";
export {
  translateQuery,
  type TranslatedQuery,
  type TranslationRequest,
  type VectorField,
} from "./query/query-translator.js";
export { searchModes, type SearchMode } from "./query/search-mode.js";
export type { SearchRequest } from "./query/search-request.js";
export type { Hit, RankingPart, SearchResult } from "./query/search-result.js";
export { openReranker } from "./rerank/open-reranker.js";
export type { Reranking } from "./rerank/rerank.js";
export type { Reranker } from "./rerank/reranker.js";
export { search } from "./query/search.js";
export { searchedFields } from "./query/searched-fields.js";
export type { TwoPhaseOptions } from "./query/two-phase.js";
export type { NamedHit } from "./searcher/named-hit.js";
export {
  openSearcher,
  type Answer,
  type EncodedQuestion,
  type QuestionOptions,
  type Searcher,
  type SearcherOptions,
} from "./searcher/searcher.js";
export { fromFeatures, toFeatures, type Features } from "./sparse/features.js";
export { prune, type PruneOptions, type PruneType } from "./sparse/prune.js";
export { quantize } from "./sparse/quantize.js";
export type { IdfScale } from "./sparse/idf.js";
export type { LiteralTerms, LexicalWord, OriginSpan } from "./sparse/literals.js";
export { termNames, type TermNames } from "./sparse/term-names.js";
export { idMap, mapVector, readIdMap, type IdMap } from "./sparse/id-map.js";
export { maxMerge, sparseVector, termsOf, type SparseVector } from "./sparse/sparse-vector.js";
export { readVocabulary, type Vocabulary } from "./sparse/vocabulary.js";
