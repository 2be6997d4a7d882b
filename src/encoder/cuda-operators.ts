/**
 * What the CUDA provider of the pinned ONNX Runtime computes. Read from the type names of kernel
 * classes and the names of operators in `libonnxruntime_providers_cuda.so` of
 * k8s/images/onnxruntime-gpu.txt (1.30.0), against the operators that ONNX and `com.microsoft` have:
 * an operator without either is left to the CPU, silently. Raise it with that version.
 */

/** The version of ONNX Runtime that the lists are of. */
export const CUDA_OPERATORS_VERSION = "1.30.0";

/** Without a CUDA kernel: each is computed on the CPU, its inputs and outputs copied. */
const ABSENT = `
  Bernoulli BitShift Celu CenterCropPad Col2Im ConvInteger DFT Det DynamicQuantizeLinear HannWindow
  HammingWindow BlackmanWindow Hardmax LpNormalization MelWeightMatrix Mish Multinomial Optional
  OptionalGetElement OptionalHasElement QLinearConv QLinearMatMul RegexFullMatch STFT SequenceMap
  SplitToSequence StringConcat StringNormalizer StringSplit TfIdfVectorizer Unique
  com.microsoft.CDist com.microsoft.DynamicQuantizeLSTM com.microsoft.DynamicQuantizeMatMul
  com.microsoft.MatMulFpQ4 com.microsoft.MatMulInteger16 com.microsoft.MatMulIntegerToFloat
  com.microsoft.MulInteger com.microsoft.MurmurHash3 com.microsoft.QEmbedLayerNormalization
  com.microsoft.QGemm com.microsoft.QLinearAdd com.microsoft.QLinearAveragePool
  com.microsoft.QLinearConcat com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearLeakyRelu
  com.microsoft.QLinearMul com.microsoft.QLinearReduceMean com.microsoft.QLinearSigmoid
  com.microsoft.QLinearSoftmax com.microsoft.QLinearWhere com.microsoft.ReduceSumInteger
  com.microsoft.SparseToDenseMatMul com.microsoft.Tokenizer com.microsoft.WordConvEmbedding`;

/** With a CUDA kernel, of those that transformers are made of. */
const PRESENT = `
  Abs Add And ArgMax ArgMin Attention Cast Ceil Clip Compress Concat Constant ConstantOfShape Conv Cos
  CumSum DequantizeLinear Div Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather
  GatherElements GatherND Gelu Gemm Greater GreaterOrEqual Identity If InstanceNormalization IsInf IsNaN
  LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop MatMul MatMulInteger Max Min Mod
  Mul Neg NonZero Not OneHot Or Pad Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2
  ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
  Reshape Resize RotaryEmbedding Round Scan ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size
  Slice Softmax Softplus Softsign Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze
  Where Xor SimplifiedLayerNormalization
  com.microsoft.Attention com.microsoft.BiasGelu com.microsoft.DequantizeLinear com.microsoft.FastGelu
  com.microsoft.FusedMatMul com.microsoft.GatherBlockQuantized com.microsoft.Gelu
  com.microsoft.GroupQueryAttention com.microsoft.MatMulBnb4 com.microsoft.MatMulNBits
  com.microsoft.MultiHeadAttention com.microsoft.PackedAttention com.microsoft.PackedMultiHeadAttention
  com.microsoft.QAttention com.microsoft.QMoE com.microsoft.QuantizeLinear com.microsoft.QuickGelu
  com.microsoft.RotaryEmbedding com.microsoft.SimplifiedLayerNormalization
  com.microsoft.SkipLayerNormalization com.microsoft.SkipSimplifiedLayerNormalization
  com.microsoft.SparseAttention`;

const absent: ReadonlySet<string> = new Set(ABSENT.split(/\s+/).filter(Boolean));
const present: ReadonlySet<string> = new Set(PRESENT.split(/\s+/).filter(Boolean));

/** Whether the CUDA provider has a kernel of an operator; `unknown` for what is in neither list. */
export function cudaSupport(operator: string): "present" | "absent" | "unknown" {
  if (absent.has(operator)) return "absent";
  return present.has(operator) ? "present" : "unknown";
}
