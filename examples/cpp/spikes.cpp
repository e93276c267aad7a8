// Spikes of a recording, by an exported file with the output "spikes": spikes FILE.onnx RECORDING CHANNELS > spikes.csv
//
// RECORDING holds float32 numbers, all channels of the first sample first. The file does all the work.
//     c++ -std=c++17 spikes.cpp $(pkg-config --cflags --libs libonnxruntime) -o spikes
#include <onnxruntime_cxx_api.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

int main(int count, char** words) try {
  if (count != 4) throw std::runtime_error("usage: spikes FILE.onnx RECORDING CHANNELS");
  std::ifstream file(words[2], std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(std::string("cannot read ") + words[2]);
  std::vector<float> values(file.tellg() / sizeof(float));
  file.seekg(0).read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(float));

  const int64_t channels = std::atoi(words[3]);
  if (channels < 1) throw std::runtime_error("CHANNELS must be a positive number");
  const std::array<int64_t, 3> shape{1, static_cast<int64_t>(values.size()) / channels, channels};
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const auto signal =
      Ort::Value::CreateTensor<float>(memory, values.data(), values.size(), shape.data(), shape.size());
  Ort::Env environment;
  Ort::Session session(environment, words[1], Ort::SessionOptions{});
  const char* const inputs[] = {"signal"};
  const char* const outputs[] = {"spike_index", "spike_unit", "spike_amplitude"};
  const auto found = session.Run(Ort::RunOptions{}, inputs, &signal, 1, outputs, 3);

  const size_t spikes = found[1].GetTensorTypeAndShapeInfo().GetElementCount();
  const int64_t* index = found[0].GetTensorData<int64_t>();  // of each spike: batch entry, sample
  std::cout << "sample,unit,amplitude\n";
  for (size_t i = 0; i < spikes; ++i)
    std::cout << index[2 * i + 1] << ',' << found[1].GetTensorData<int64_t>()[i] << ','
              << found[2].GetTensorData<float>()[i] << '\n';
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
