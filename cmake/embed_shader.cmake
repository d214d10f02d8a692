# cmake/embed_shader.cmake - checks one SPIR-V file's capabilities and writes it as a C file.
# cmake -DNAME=... -DSPIRV=... -DALLOWED=A,B,... -DOUT=... -P embed_shader.cmake
# A CMake script and no program, so that a cross build needs no compiler for the build machine.

cmake_policy(VERSION 3.22)
set(CAPABILITY_NAMES
    "0=Matrix" "1=Shader" "9=Float16" "10=Float64" "11=Int64" "12=Int64Atomics" "22=Int16" "39=Int8" "61=GroupNonUniform"
    "62=GroupNonUniformVote" "63=GroupNonUniformArithmetic" "64=GroupNonUniformBallot" "65=GroupNonUniformShuffle"
    "66=GroupNonUniformShuffleRelative" "67=GroupNonUniformClustered" "68=GroupNonUniformQuad"
    "4433=StorageBuffer16BitAccess" "4434=UniformAndStorageBuffer16BitAccess" "4448=StorageBuffer8BitAccess"
    "5345=VulkanMemoryModel" "5346=VulkanMemoryModelDeviceScope" "5347=PhysicalStorageBufferAddresses"
    "5357=CooperativeMatrixNV" "6016=DotProductInputAll" "6017=DotProductInput4x8Bit" "6018=DotProductInput4x8BitPacked"
    "6019=DotProduct" "6022=CooperativeMatrixKHR")

string(REPLACE "," ";" allowed "${ALLOWED}")
file(READ ${SPIRV} hex HEX)
string(LENGTH "${hex}" digits)
string(SUBSTRING "${hex}" 0 8 magic)
if(NOT magic STREQUAL "03022307")
  message(FATAL_ERROR "shader ${NAME}: not little-endian SPIR-V")
endif()

# Capabilities come first after the header of five words: OpCapability is 0x0002'0011.
set(numbers "")
set(at 40)
while(at LESS digits)
  string(SUBSTRING "${hex}" ${at} 8 word)
  if(NOT word STREQUAL "11000200")
    break()
  endif()
  math(EXPR at "${at} + 8")
  string(SUBSTRING "${hex}" ${at} 8 word)
  string(REGEX REPLACE "(..)(..)(..)(..)" "\\4\\3\\2\\1" word ${word})
  math(EXPR number "0x${word}")
  list(APPEND numbers ${number})
  math(EXPR at "${at} + 8")
endwhile()

foreach(number ${numbers})
  set(capability "number ${number}")
  foreach(pair ${CAPABILITY_NAMES})
    if(pair MATCHES "^${number}=(.*)$")
      set(capability ${CMAKE_MATCH_1})
    endif()
  endforeach()
  if(capability STREQUAL "Int64" OR NOT capability IN_LIST allowed)
    message(FATAL_ERROR "shader ${NAME} needs SPIR-V capability ${capability}, which its manifest line does not list "
                        "(cap:${capability}); Int64 is never allowed")
  endif()
endforeach()

string(REGEX REPLACE "(..)(..)(..)(..)" "0x\\4\\3\\2\\1," words "${hex}")
string(REGEX REPLACE "((0x........,)(0x........,)(0x........,)(0x........,)(0x........,)(0x........,)(0x........,)(0x........,))"
                     "\\1\n    " words "${words}")
list(LENGTH numbers count)
list(JOIN numbers ", " numbers)
file(WRITE ${OUT} "/* Generated from the shader manifests. */
#include \"gpu/shader_list.h\"

static const uint32_t words[] = {
    ${words}
};
static const uint32_t capabilities[] = {${numbers}};

extern const lk_shader_code lk_spirv_${NAME};
const lk_shader_code lk_spirv_${NAME} = {\"${NAME}\", words, sizeof words, capabilities, ${count}};
")
