/* SPDX-License-Identifier: Apache-2.0 */
/* What the doctor says of the home of a world: for tests that spoil it. The test's thread only. */
#ifndef INTEGRATION_FINDINGS_H
#define INTEGRATION_FINDINGS_H

#include "world.h"

#include <aico/doctor.h>

/* A copy of one finding. */
struct finding {
    enum aico_finding_level level;
    int code;
    bool for_owner;
    char check[16], subject[256], cause[1024], repair[1536];
};

/* aico_doctor() of the world's home; @options NULL: as ALICE. What it found replaces what was found
 * before. */
int examine(const struct world *world, const struct aico_doctor_options *options);
int examine_as(const struct world *world, enum person who);
/* The finding of that code with @text in its subject or cause; fails the test when there is none.
 */
const struct finding *expect_finding(const char *check, int code, const char *text);
bool is_found(const char *check, int code, const char *text);

/* A way to spoil a home that a line of the doctor's for sh repairs. */
struct fault {
    const char *name;
    void (*spoil)(const struct world *world);
    const char *check;
    int code;
    const char *text; /* in subject or cause */
};
/* Spoils, sees it named, runs what was printed as it stands, and sees it gone. */
void expect_named_and_repaired(const struct world *world, const struct fault *fault);

/* --- files of the home --- */

/* "HOME/NAME"; valid until the fourth call after it. */
const char *at_home(const struct world *world, const char *name);
/* Flips a bit in the middle of the file. */
void spoil_file(const char *path);
void write_text(const struct world *world, const char *name, const char *text);
void copy_file(const struct world *world, const char *from, const char *to);
/* Signs @draft for the home alone; the world's registry stays what it is. */
void sign_registry(const struct world *world, const struct registry_draft *draft,
                   int64_t issued_ms);

#endif
