/* SPDX-License-Identifier: Apache-2.0 */
/* Texts for people that are made from the schema, so that they cannot differ from it. */
#ifndef CONFIG_REFERENCE_H
#define CONFIG_REFERENCE_H

#include <stdio.h>

/* docs/configuration.md. 0 or AICO_ESYSTEM, as all here. */
int config_reference_write(FILE *out);
/* config/security.yaml: every key at its default, with its meaning above it. */
int config_example_write(FILE *out);

#endif
