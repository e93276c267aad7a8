// An image without its noise, by an exported file with the output "denoised" and the input "sigma":
//     denoise FILE.onnx NOISY CLEAN HEIGHT WIDTH CHANNELS SIGMA
//
// NOISY and CLEAN hold float32 numbers in [0, 1], row by row; SIGMA is the noise's standard deviation in that unit.
//     c++ -std=c++17 denoise.cpp $(pkg-config --cflags --libs libonnxruntime) -o denoise
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <vector>

int main(int count, char** words) try {
  if (count != 8) throw std::runtime_error("usage: denoise FILE.onnx NOISY CLEAN HEIGHT WIDTH CHANNELS SIGMA");
  const std::array<int64_t, 4> shape{1, std::atoi(words[4]), std::atoi(words[5]), std::atoi(words[6])};
  const std::array<int64_t, 1> batch{1};
  std::vector<float> noisy(shape[1] * shape[2] * shape[3]);
  const std::streamsize bytes = noisy.size() * sizeof(float);
  std::ifstream file(words[2], std::ios::binary);
  if (!file.read(reinterpret_cast<char*>(noisy.data()), bytes)) throw std::runtime_error("too few numbers in NOISY");

  float sigma = std::atof(words[7]);
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<Ort::Value> given;
  given.push_back(Ort::Value::CreateTensor<float>(memory, noisy.data(), noisy.size(), shape.data(), shape.size()));
  given.push_back(Ort::Value::CreateTensor<float>(memory, &sigma, 1, batch.data(), batch.size()));
  Ort::Env environment;
  Ort::Session session(environment, words[1], Ort::SessionOptions{});
  const char* const inputs[] = {"signal", "sigma"};
  const char* const outputs[] = {"denoised"};
  const auto made = session.Run(Ort::RunOptions{}, inputs, given.data(), given.size(), outputs, 1);
  std::ofstream clean(words[3], std::ios::binary);
  if (!clean.write(made[0].GetTensorData<char>(), bytes).flush()) throw std::runtime_error("cannot write CLEAN");
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
