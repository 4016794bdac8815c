/* Vectors of 16 numbers, in the instructions that the compiler may use. Everything else is written in these terms.
 *
 * Each header defines the same types and functions, and each function has the same result on all processors, bit for
 * bit: a sum is of 16 lanes whose halves are added to each other, and products are added with one rounding.
 *
 *     Vec                  16 floats; v_load, v_store, v_splat (one number in all lanes), v_add, v_sub, v_mul, v_div
 *     v_max, v_min         the second operand where either is not a number
 *     v_fma                a * b + c, rounded once
 *     v_round              to the nearest integer, ties to even
 *     v_scale_by_power     a * 2^n, for integers n from -126 to 127
 *     v_greater            a bit for each lane
 *     v_reduce_sum, v_reduce_max
 *     v_load_halves, v_store_halves    half precision; to nearest, ties to even
 *
 *     Input, GROUP         an input of a product, in 8 bits or 16; inputs whose products with a weight are added at once
 *     v_store_inputs       rounds numbers from -127 to 127
 *     Sums                 16 sums in 32 bits, of as many outputs
 *     v_load_weights       of 16 outputs by GROUP inputs
 *     v_splat_group        GROUP inputs, for all outputs
 *     v_dot                adds the GROUP products of each output, exactly
 *     v_finish_sums        the sums as floats. `of_zero` is what they would be if all inputs were 128
 *     TILE_ROWS, TILE_BLOCKS           rows, and blocks of 16 outputs, whose sums fit the registers
 */
#ifndef VECTORS_H
#define VECTORS_H

#if defined(PORTABLE)
#include "instructions/portable.h"
#elif defined(__AVX512VNNI__)
#include "instructions/avx512.h"
#elif defined(__AVX2__)
#include "instructions/avx2.h"
#elif defined(__ARM_NEON)
#include "instructions/neon.h"
#else
#include "instructions/portable.h"
#endif

#endif
