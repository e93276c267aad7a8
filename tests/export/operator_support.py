"""Operators that run times and converters without control flow take, with their sources, for what files are made of.

Lists are cut to what an encoder could need. Where a source changes, change it here: tests hold the files against it.
"""

#: Once the sizes of a file without a Loop are known: what is left of it, all on real numbers.
PLAIN = frozenset({"Add", "Clip", "Concat", "Conv", "DepthToSpace", "Div", "Expand", "Gather", "Max", "Min", "Mul",
                   "Neg", "Pad", "Relu", "Reshape", "Slice", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze"})

#: "Y" in the operator support matrix of onnx-tensorrt, docs/operators.md @6d0ab7b (TensorRT 8.5, up to opset 17; the
#: parsers of releases 10 and 11 read opset 18). Conv's weights may be computed, Mod is new in it.
TENSORRT = frozenset({
    "Abs", "Add", "And", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "Div", "Equal", "Erf", "Exp", "Expand", "Floor",
    "Gather", "GatherND", "Gemm", "Greater", "GreaterOrEqual", "Identity", "If", "Less", "LessOrEqual", "Log",
    "Loop", "MatMul", "Max", "MaxPool", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "Or", "Pad", "Pow",
    "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare", "Relu",
    "Reshape", "Shape", "Sigmoid", "Sign", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile",
    "Transpose", "Unsqueeze", "Where"})
#: The same source: inputs that must be initialisers, {operator: number of the input}.
TENSORRT_CONSTANT_INPUTS = {"Slice": 3, "Squeeze": 1, "Unsqueeze": 1}

#: Kernels of onnxruntime's native WebGPU provider, core/providers/webgpu/webgpu_execution_provider.cc @9ea5d63; Max and
#: Min are those of microsoft/onnxruntime pull request 29833 (July 2026). Without Loop, Mod and Scan.
WEBGPU = frozenset({
    "Abs", "Add", "AveragePool", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Conv",
    "ConvTranspose", "DepthToSpace", "Div", "Equal", "Erf", "Exp", "Expand", "Floor", "Gather", "Gemm",
    "Greater", "GreaterOrEqual", "If", "Less", "LessOrEqual", "Log", "MatMul", "Max", "MaxPool", "Min", "Mul",
    "Neg", "Not", "Pad", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Split", "Sqrt", "Squeeze", "Sub",
    "Tile", "Transpose", "Unsqueeze", "Where"})

#: Refused in CUDA graphs: inference_session.cc of onnxruntime, pull request 15005.
NOT_IN_CUDA_GRAPHS = frozenset({"If", "Loop", "Scan"})
