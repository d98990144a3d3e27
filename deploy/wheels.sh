#!/bin/sh
# Fills a folder with the Python packages that the images are built from, so that a build needs no index.
#
#   sh wheels.sh FOLDER [IMAGE...]        images: fastapi torchserve triton-cpu (all three), triton
#
# PYTHON          the interpreter whose pip downloads (python3)
# ENGINES         cpu, or cuda: several GB (cpu)
# PYTHON_VERSION  of the images' Python (3.11 for cpu, Debian 12; 3.12 for cuda, Ubuntu 24.04)
set -eu

folder=$1
shift
[ $# -gt 0 ] || set -- fastapi torchserve triton-cpu
here=$(dirname "$0")/requirements
python=${PYTHON:-python3}
engines=${ENGINES:-cpu}
cpu_index=https://download.pytorch.org/whl/cpu
case $engines in
    cpu) default=3.11 ;;
    cuda) default=3.12 ;;
    *) echo "ENGINES is $engines: allowed are cpu and cuda" >&2; exit 2 ;;
esac
version=${PYTHON_VERSION:-$default}

platforms() {
    # What the images' Linux can run, which need not be what this one can.
    glibc=36
    while [ "$glibc" -ge 17 ]; do
        printf -- '--platform manylinux_2_%s_%s\n' "$glibc" "$1"
        glibc=$((glibc - 1))
    done
    printf -- '--platform %s\n' "manylinux2014_$1" "manylinux2010_$1" "manylinux1_$1" "linux_$1"
}

download() {
    # shellcheck disable=SC2046 # many options, no path among them
    "$python" -m pip --disable-pip-version-check download --quiet --only-binary :all: --dest "$folder" \
        --python-version "$version" --implementation cp $(platforms "$(uname -m)") "$@"
}

engines() {
    if [ "$engines" = cuda ]; then
        download -r "$here/engines-cuda.txt"
    else
        # As in install.sh: from where pip already looks, else from PyTorch's own index.
        download --no-deps -r "$here/engines-cpu.txt" 2>/dev/null ||
            download --no-deps -r "$here/engines-cpu.txt" --extra-index-url "$cpu_index"
    fi
}

mkdir -p "$folder"
fetched=
for image in "$@"; do
    if [ ! -f "$here/$image.txt" ]; then
        echo "no image is called $image: $(cd "$here" && ls | sed 's/\.txt//' | grep -v '^engines' | tr '\n' ' ')" >&2
        exit 2
    fi
    # Triton's own image brings its engines; the lists of the others say what comes beside them.
    if [ "$image" != triton ] && [ -z "$fetched" ]; then
        engines
        fetched=yes
    fi
    download --no-deps -r "$here/$image.txt"
done
