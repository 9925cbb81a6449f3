#pragma once

#include <napi.h>

namespace onecopy {

// convertToFloat32(format: string, source: Uint8Array, elementCount: number, target: Float32Array, variant?: 'plain')
//
// Writes elementCount float32 to the start of target and returns the name of the variant that did it: 'avx2', 'neon'
// or 'plain'. Asking for 'plain' leaves the processor's extensions out, so that they can be compared bit for bit. Both
// arrays may lie in a SharedArrayBuffer. src/convert.ts documents the formats and validates; here only memory is
// protected.
Napi::Value ConvertToFloat32(const Napi::CallbackInfo& info);

}  // namespace onecopy
