/* shaders/common/grid.glsl - which piece of the work a workgroup does.
 *
 * C asks for a linear number of workgroups (lk_command.groups). The command stream covers exactly that number with
 * dispatches over three axes, none longer than the device (or a test) allows, and may cut a long dispatch in several; each
 * starts at its own first workgroup. So lk_group_index() runs over 0 .. groups-1, every value once, whatever the limits, and
 * no shader uses gl_WorkGroupID itself. lk_group_total() is the whole number asked for. */
#ifndef LK_GRID_GLSL
#define LK_GRID_GLSL

#define lk_group_index()                                                                                               \
    (lk_first_group + gl_WorkGroupID.x + gl_NumWorkGroups.x * (gl_WorkGroupID.y + gl_NumWorkGroups.y * gl_WorkGroupID.z))
#define lk_group_total() lk_group_count

/* Workgroup size: specialization constant 0 of every shader, one-dimensional. */
layout(local_size_x_id = 0) in;

#endif
