/** How execution providers say that memory for a batch could not be had. */
import { messageOf } from "../errors/csplade-error.js";

const EXHAUSTED =
  /failed to allocate memory|out of memory|bad_alloc|bad allocation|cudaErrorMemoryAllocation|CUDA failure 2\b|CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED/i;

/** True for an error that a smaller batch may not meet. */
export function isMemoryExhausted(thrown: unknown): boolean {
  return EXHAUSTED.test(messageOf(thrown));
}
