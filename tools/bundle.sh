#!/bin/sh
# tools/bundle.sh - programs and the libraries they need in one file, for a machine that has neither packages nor tools.
#
#   sh tools/bundle.sh [--validation] [FILE.tar.gz]      (default: build/bundle/likeness-bundle.tar.gz)
#
#   --validation   add Vulkan's validation layer, where this machine has it
#
# Inside: bin/ (likeness and the test programs that use a device, stripped), lib/ (libraries beside the C library),
# spare/ (libraries that graphics drivers and loaders like to find; tools/device_check.sh takes those that a machine
# lacks). Test programs look for their data in the current folder: run them in a checkout. Machine and C library there
# must be like here, or newer.
set -eu
cd "$(dirname "$0")/.."
validation=no
file=build/bundle/likeness-bundle.tar.gz
for argument in "$@"; do
    case $argument in
        --validation) validation=yes ;;
        -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 0 ;;
        -*) echo "bundle.sh: unknown option $argument" >&2; exit 2 ;;
        *) file=$argument ;;
    esac
done

# ---- build -----------------------------------------------------------------------------------------------------------

tree=build/bundle/tree
launcher=$(command -v ccache || true)
cmake -S . -B $tree -G Ninja -DCMAKE_BUILD_TYPE=Release -DLIKENESS_TEST_ROOT=. \
    ${launcher:+-DCMAKE_C_COMPILER_LAUNCHER="$launcher"} >/dev/null
programs=
for source in tests/gpu/test_*.c tests/op/test_*.c tests/graph/test_*.c tests/models/test_*.c tests/api/test_*.c \
    tests/personalize/test_*.c; do
    [ -f "$source" ] || continue
    folder=${source#tests/}
    programs="$programs ${folder%%/*}_$(basename "$source" .c)"
done
# shellcheck disable=SC2086
cmake --build $tree -j "${LIKENESS_JOBS:-$(nproc)}" --target likeness_cli $programs

# ---- collect ---------------------------------------------------------------------------------------------------------

stage=build/bundle/likeness-bundle
rm -rf $stage
mkdir -p $stage/bin $stage/lib $stage/spare $stage/layer
strip -o $stage/bin/likeness $tree/likeness
for program in $programs; do
    strip -o $stage/bin/"$program" $tree/tests/"$program"
done

# Libraries of a program, one path a line, without the C library and its parts: those belong to the system.
libraries() {
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// {print $3}' | sort -u |
        grep -v -E '/(libc|libm|libdl|libpthread|librt|libresolv|ld-linux[^/]*)\.so' || true
}
is_spare() { case $(basename "$1") in libstdc++.so* | libgcc_s.so* | libz.so*) return 0 ;; *) return 1 ;; esac; }
take() { if is_spare "$1"; then cp -L "$1" $stage/spare/; else cp -L "$1" $stage/lib/; fi; }
for library in $(libraries $stage/bin/*); do take "$library"; done
known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p)
for name in libvulkan.so.1 libEGL.so.1 libGLdispatch.so.0 libGLX.so.0 libGL.so.1 libX11.so.6 libXext.so.6; do
    path=$(printf '%s\n' "$known" | awk -v name="$name" '$1 == name {print $NF; exit}')
    [ -n "$path" ] || continue
    cp -L "$path" $stage/spare/
    for library in $(libraries "$path"); do cp -L "$library" $stage/spare/; done
done
layer=$(printf '%s\n' /usr/lib/*/libVkLayer_khronos_validation.so /usr/lib/libVkLayer_khronos_validation.so | tail -n 2)
if [ $validation = yes ]; then
    for path in $layer; do
        [ -f "$path" ] || continue
        strip -o $stage/layer/libVkLayer_khronos_validation.so "$path"
        cp /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json $stage/layer/
        sed -i 's#"library_path": *"[^"]*"#"library_path": "./libVkLayer_khronos_validation.so"#' $stage/layer/*.json
        for library in $(libraries "$path"); do cp -L "$library" $stage/spare/; done
    done
fi
mkdir -p "$(dirname "$file")"
tar -C build/bundle -czf "$file" likeness-bundle
echo "$file: $(du -k "$file" | cut -f 1) KiB, $(find $stage/bin -type f | wc -l) programs"
