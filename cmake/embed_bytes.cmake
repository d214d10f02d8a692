# cmake/embed_bytes.cmake - writes a data file as a C array.
# cmake -DNAME=... -DFILE=... -DOUT=... -P embed_bytes.cmake

cmake_policy(VERSION 3.22)
file(READ ${FILE} hex HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n    " bytes "${bytes}")
get_filename_component(file ${FILE} NAME)
file(WRITE ${OUT} "/* Generated from ${file}. */
#include <stddef.h>

extern const unsigned char ${NAME}[];
extern const size_t ${NAME}_size;
const unsigned char ${NAME}[] = {
    ${bytes}
};
const size_t ${NAME}_size = sizeof ${NAME};
")
