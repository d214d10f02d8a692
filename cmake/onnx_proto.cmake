# protobuf-c's reader for ONNX files, generated from src/io/onnx.proto into <build>/generated/io/onnx.pb-c.[ch].
find_program(LIKENESS_PROTOC_C NAMES protoc-c)
if(NOT LIKENESS_PROTOC_C)
  message(FATAL_ERROR "protoc-c is missing: install the package protobuf-c-compiler")
endif()
set(LIKENESS_GENERATED ${CMAKE_CURRENT_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${LIKENESS_GENERATED}/io)
add_custom_command(
  OUTPUT ${LIKENESS_GENERATED}/io/onnx.pb-c.c ${LIKENESS_GENERATED}/io/onnx.pb-c.h
  COMMAND ${LIKENESS_PROTOC_C} --proto_path=${CMAKE_CURRENT_SOURCE_DIR}/src/io
          --c_out=${LIKENESS_GENERATED}/io onnx.proto
  DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/src/io/onnx.proto
  COMMENT "Generating the ONNX reader"
  VERBATIM)
target_sources(likeness PRIVATE ${LIKENESS_GENERATED}/io/onnx.pb-c.c ${LIKENESS_GENERATED}/io/onnx.pb-c.h)
target_include_directories(likeness PRIVATE ${LIKENESS_GENERATED})
# Generated code is not held to our warnings; protobuf-c 1.4 casts function pointers in ways that UBSan of newer compilers objects to.
set_source_files_properties(${LIKENESS_GENERATED}/io/onnx.pb-c.c PROPERTIES COMPILE_OPTIONS "-w")
