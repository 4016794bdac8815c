/* Arm in 64 bits; 8-bit products also with the dot product of Armv8.2. A vector is four registers. */
#ifndef INSTRUCTIONS_H
#define INSTRUCTIONS_H

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    float32x4_t q[4];
} Vec;

#define EACH(expression) ((Vec){{expression(0), expression(1), expression(2), expression(3)}})

static inline Vec v_splat(float x) {
    float32x4_t all = vdupq_n_f32(x);
    return (Vec){{all, all, all, all}};
}
#define AT(i) vld1q_f32(x + 4 * i)
static inline Vec v_load(const float *x) { return EACH(AT); }
#undef AT
static inline void v_store(float *x, Vec a) {
    for (int i = 0; i < 4; i++) vst1q_f32(x + 4 * i, a.q[i]);
}
#define AT(i) vaddq_f32(a.q[i], b.q[i])
static inline Vec v_add(Vec a, Vec b) { return EACH(AT); }
#undef AT
#define AT(i) vsubq_f32(a.q[i], b.q[i])
static inline Vec v_sub(Vec a, Vec b) { return EACH(AT); }
#undef AT
#define AT(i) vmulq_f32(a.q[i], b.q[i])
static inline Vec v_mul(Vec a, Vec b) { return EACH(AT); }
#undef AT
#define AT(i) vdivq_f32(a.q[i], b.q[i])
static inline Vec v_div(Vec a, Vec b) { return EACH(AT); }
#undef AT
/* The second operand if either is not a number, as on x86: vmaxq_f32 would return NaN. */
#define AT(i) vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i])
static inline Vec v_max(Vec a, Vec b) { return EACH(AT); }
#undef AT
#define AT(i) vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i])
static inline Vec v_min(Vec a, Vec b) { return EACH(AT); }
#undef AT
#define AT(i) vabsq_f32(a.q[i])
static inline Vec v_abs(Vec a) { return EACH(AT); }
#undef AT
#define AT(i) vfmaq_f32(c.q[i], a.q[i], b.q[i])
static inline Vec v_fma(Vec a, Vec b, Vec c) { return EACH(AT); }
#undef AT
#define AT(i) vrndnq_f32(a.q[i])
static inline Vec v_round(Vec a) { return EACH(AT); }
#undef AT
#define AT(i) vmulq_f32(a.q[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n.q[i]), vdupq_n_s32(127)), 23)))
static inline Vec v_scale_by_power(Vec a, Vec n) { return EACH(AT); }
#undef AT
static inline uint32_t v_greater(Vec a, Vec b) {
    static const uint32_t bits[4] = {1, 2, 4, 8};
    uint32_t mask = 0;
    for (int i = 0; i < 4; i++) mask |= vaddvq_u32(vandq_u32(vcgtq_f32(a.q[i], b.q[i]), vld1q_u32(bits))) << (4 * i);
    return mask;
}
static inline float v_reduce_sum(Vec a) {
    float32x4_t four = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
static inline float v_reduce_max(Vec a) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a.q[0], a.q[2]), vmaxq_f32(a.q[1], a.q[3])));
}

#define AT(i) vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x + 4 * i)))
static inline Vec v_load_halves(const uint16_t *x) { return EACH(AT); }
#undef AT
static inline void v_store_halves(uint16_t *x, Vec a) {
    for (int i = 0; i < 4; i++) vst1_u16(x + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(a.q[i])));
}

typedef int8_t Input;
enum { GROUP = 4 };
static inline void v_store_inputs(Input *x, Vec a) {
    int16x8_t low = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(a.q[0])), vmovn_s32(vcvtnq_s32_f32(a.q[1])));
    int16x8_t high = vcombine_s16(vmovn_s32(vcvtnq_s32_f32(a.q[2])), vmovn_s32(vcvtnq_s32_f32(a.q[3])));
    vst1q_s8(x, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
}

typedef struct {
    int32x4_t q[4];
} Sums;
typedef struct {
    int8x16_t q[4];
} Weights;
typedef int8x16_t Group;

enum { TILE_ROWS = 6, TILE_BLOCKS = 1 }; /* 24 sums, 4 weights and an input fit the 32 registers */

static inline Sums v_no_sums(void) {
    int32x4_t none = vdupq_n_s32(0);
    return (Sums){{none, none, none, none}};
}
static inline Weights v_load_weights(const int8_t *w) {
    return (Weights){{vld1q_s8(w), vld1q_s8(w + 16), vld1q_s8(w + 32), vld1q_s8(w + 48)}};
}
static inline Group v_splat_group(const Input *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}
static inline int32x4_t dot_four(int32x4_t sums, int8x16_t x, int8x16_t w) {
#ifdef __ARM_FEATURE_DOTPROD
    return vdotq_s32(sums, x, w);
#else
    int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(w)), high = vmull_high_s8(x, w);
    return vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
#endif
}
static inline Sums v_dot(Sums sums, Group x, Weights w) {
    for (int i = 0; i < 4; i++) sums.q[i] = dot_four(sums.q[i], x, w.q[i]);
    return sums;
}
#define AT(i) vcvtq_f32_s32(sums.q[i])
static inline Vec v_finish_sums(Sums sums, const int32_t *of_zero) {
    (void)of_zero;
    return EACH(AT);
}
#undef AT
#undef EACH

#endif
