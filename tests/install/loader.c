/* SPDX-License-Identifier: Apache-2.0 */
/* loader.c LIBRARY - a program that learns of the library only at run time, as plug-ins do */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    void *library = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library || !dlsym(library, "fm_version")) {
        fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "no library given");
        return 1;
    }
    return dlclose(library);
}
